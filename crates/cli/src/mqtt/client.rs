//! The client's thread.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::{
    AsyncClient, ConnectionError, Event as Told, EventLoop, LastWill, MqttOptions, Packet, QoS, TlsConfiguration,
    Transport,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::command::Command;
use super::{Settings, Topics, discovery, sensor};
use crate::live::{Facts, Live, Publication};
use crate::output::{json, message};

/// Requests that the connection takes ahead.
const AHEAD: usize = 32;
/// Bytes of the largest message: a snapshot out, a command in.
const LARGEST_OUT: usize = 5 << 20;
const LARGEST_IN: usize = 16 << 10;
/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(500);
/// How long the end waits for what is under way.
const END: Duration = Duration::from_secs(1);

/// What the client's thread is told.
enum Input {
    /// Something of the broker.
    Broker(Told),
    /// The connection is lost, or there was none.
    Lost(ConnectionError),
    /// There is an event.
    News,
    /// Time has passed.
    Tick,
    /// The loop has ended.
    End,
}

/// A running client; dropping it says goodbye to the broker.
#[derive(Debug)]
pub(crate) struct Client {
    inputs: Sender<Input>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Publishes what `live` shows until it is dropped. A broker that is away is tried again and again.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub(crate) fn start(settings: Settings, live: Arc<Live>, mut facts: Facts) -> std::io::Result<Self> {
        if let Some(device) = &settings.device {
            facts.device.clone_from(device);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (inputs, told) = channel(AHEAD);
        let waker = inputs.clone();
        // A full channel means that the thread has enough to look at already, and will find the event.
        live.events().listen(move || drop(waker.try_send(Input::News)));
        let sender = inputs.clone();
        let thread = std::thread::Builder::new().name("mqtt".into()).spawn(move || {
            runtime.block_on(async {
                let mut session = Session::new(settings, live, facts, &sender);
                session.work(told).await;
            });
        })?;
        Ok(Self { inputs, thread: Some(thread) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The thread takes what is in its channel all the time, so there is room soon.
        let until = Instant::now() + END;
        while self.inputs.try_send(Input::End).is_err() && !self.inputs.is_closed() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is said to the broker, and what of it has arrived.
struct Session {
    settings: Settings,
    topics: Topics,
    live: Arc<Live>,
    facts: Facts,
    client: AsyncClient,
    connected: bool,
    /// Whether the last attempt failed, which was told.
    failed: bool,
    /// The event that is under way.
    under_way: Option<Vec<u8>>,
    /// Number of the last event that was put into the spool.
    last: u64,
    published: Option<Instant>,
    /// Whether somebody waits for a picture.
    wanted: bool,
    /// Whether the spool's file could not be written, which was told.
    unwritten: bool,
}

impl Session {
    fn new(settings: Settings, live: Arc<Live>, facts: Facts, inputs: &Sender<Input>) -> Self {
        let topics = Topics::new(&settings.prefix, &facts.device);
        let (client, connection) = AsyncClient::new(options(&settings, &topics), AHEAD);
        tokio::spawn(poll(connection, inputs.clone()));
        tokio::spawn(tick(inputs.clone()));
        Self {
            settings,
            topics,
            live,
            facts,
            client,
            connected: false,
            failed: false,
            under_way: None,
            last: 0,
            published: None,
            wanted: false,
            unwritten: false,
        }
    }

    async fn work(&mut self, mut told: Receiver<Input>) {
        while let Some(input) = told.recv().await {
            match input {
                Input::Broker(Told::Incoming(packet)) => self.hear(packet),
                Input::Broker(Told::Outgoing(_)) => {}
                Input::Lost(error) => self.lost(&error),
                Input::News | Input::Tick => {}
                Input::End => return self.end(told).await,
            }
            self.collect();
            if self.connected {
                self.send();
            }
        }
    }

    fn hear(&mut self, packet: Packet) {
        match packet {
            Packet::ConnAck(_) => {
                (self.connected, self.failed) = (true, false);
                // A session is new each time: what was under way is sent again.
                (self.under_way, self.published) = (None, None);
                message::note(&format!("connected to the broker at {}", self.settings.broker.host));
                self.greet();
            }
            Packet::PubAck(_) => {
                // Only events are confirmed, and one at a time.
                if let Some(event) = self.under_way.take() {
                    let confirmed = self.settings.spool.confirm(&event);
                    self.written(confirmed);
                }
            }
            // Retained or not: what a sensor said last still holds.
            Packet::Publish(publish)
                if self.settings.sensor.as_ref().is_some_and(|(topic, _)| *topic == publish.topic) =>
            {
                if let Some((_, signal)) = &self.settings.sensor {
                    signal.set(sensor::is_active(&publish.payload));
                }
            }
            Packet::Publish(publish) if self.settings.commands && !publish.retain => {
                let name = publish.topic.strip_prefix(&self.topics.commands).and_then(|name| name.strip_prefix('/'));
                let Some(command) = name.and_then(|name| Command::parse(name, &publish.payload)) else { return };
                command.apply(&self.live);
                self.wanted |= command == Command::Snapshot;
                self.published = None;
            }
            _ => {}
        }
    }

    fn lost(&mut self, error: &ConnectionError) {
        self.connected = false;
        self.forget_sensor();
        if !std::mem::replace(&mut self.failed, true) {
            let why = match error {
                ConnectionError::ConnectionRefused(code) => format!("it refused: {code:?}"),
                error => error.to_string(),
            };
            message::note(&format!("no connection to the broker at {}: {why}", self.settings.broker.host));
        }
    }

    /// A sensor that cannot be heard must not make the board blind.
    fn forget_sensor(&self) {
        if let Some((_, signal)) = &self.settings.sensor {
            signal.set(true);
        }
    }

    /// Says who this is. Sent again at each connection, since a broker without a disk forgets.
    fn greet(&mut self) {
        let about = discovery::message(&self.facts, &self.topics, self.settings.commands);
        let topic = format!("{}/device/{}/config", self.settings.discovery, self.topics.id);
        self.publish(&topic, true, about.to_string().into_bytes());
        self.publish(&self.topics.availability, true, b"online".to_vec());
        if let Some((topic, _)) = &self.settings.sensor {
            let _ = self.client.try_subscribe(topic, QoS::AtLeastOnce);
        }
        if self.settings.commands {
            // Told by the broker's log where it is not allowed.
            let _ = self.client.try_subscribe(self.topics.command("+"), QoS::AtMostOnce);
        }
    }

    /// Puts new events, and what rules say of them, into the spool.
    fn collect(&mut self) {
        for event in self.live.events().after(self.last) {
            self.last = event.id;
            if let Ok(line) = json::line(&json::Versioned::new(&event)) {
                self.keep(&line);
            }
            if self.connected
                && let Some(jpeg) = event.snapshot.and_then(|id| self.live.events().snapshot(id))
            {
                self.publish(&self.topics.snapshot, true, jpeg.to_vec());
            }
        }
        for Publication { topic, text } in self.live.events().take_publications() {
            if let Ok(line) = json::line(&Addressed { topic, text }) {
                self.keep(&line);
            }
        }
    }

    fn keep(&mut self, line: &[u8]) {
        let lost = self.settings.spool.lost();
        let written = self.settings.spool.push(line);
        self.written(written);
        if lost == 0 && self.settings.spool.lost() > 0 {
            message::note("the oldest events for the broker are lost: there is no more room for them");
        }
    }

    /// Tells once that the spool's file cannot be written: events are kept in memory then.
    fn written(&mut self, result: std::io::Result<()>) {
        match result {
            Ok(()) => self.unwritten = false,
            Err(error) if !std::mem::replace(&mut self.unwritten, true) => {
                message::note(&format!("events for the broker are kept in memory only: {error}"));
            }
            Err(_) => {}
        }
    }

    /// Sends what there is: the next event, the state where it is time, a picture where somebody waits for it.
    fn send(&mut self) {
        if self.under_way.is_none()
            && let Some(line) = self.settings.spool.first().map(<[u8]>::to_vec)
        {
            let (topic, text) = match Addressed::of(&line) {
                Some(Addressed { topic, text }) => (topic, text.into_bytes()),
                None => (self.topics.event.clone(), line.clone()),
            };
            if self.client.try_publish(topic, QoS::AtLeastOnce, false, text).is_ok() {
                self.under_way = Some(line);
            }
        }
        if self.published.is_none_or(|at| at.elapsed() >= self.settings.every)
            && let Some(line) = self.live.state().and_then(|state| self.facts.line(&state))
        {
            self.published = Some(Instant::now());
            self.publish(&self.topics.state, true, line);
        }
        if self.wanted
            && let Some(jpeg) = self.live.picture().and_then(|picture| picture.jpeg())
        {
            self.wanted = false;
            self.publish(&self.topics.snapshot, true, jpeg.to_vec());
        }
    }

    /// Publishes something that is not worth keeping for a broker that does not take it.
    fn publish(&self, topic: &str, retain: bool, payload: Vec<u8>) {
        if let Err(error) = self.client.try_publish(topic, QoS::AtMostOnce, retain, payload) {
            log::debug!("{topic}: {error}");
        }
    }

    /// Says goodbye, and waits a little for it to arrive.
    async fn end(&mut self, mut told: Receiver<Input>) {
        if !self.connected {
            return;
        }
        self.publish(&self.topics.availability, true, b"offline".to_vec());
        let _ = self.client.try_disconnect();
        let gone = async {
            while let Some(input) = told.recv().await {
                match input {
                    Input::Broker(Told::Incoming(packet @ Packet::PubAck(_))) => self.hear(packet),
                    Input::Broker(Told::Outgoing(rumqttc::Outgoing::Disconnect)) | Input::Lost(_) => return,
                    _ => {}
                }
            }
        };
        let _ = tokio::time::timeout(END, gone).await;
    }
}

/// A line of the spool that is a rule's message and no event.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Addressed {
    topic: String,
    text: String,
}

impl Addressed {
    fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

fn options(settings: &Settings, topics: &Topics) -> MqttOptions {
    let Settings { broker, credentials, tls, keep_alive, .. } = settings;
    let mut options = MqttOptions::new(format!("dyn-perceiver-{}", topics.id), &broker.host, broker.port);
    options.set_keep_alive(*keep_alive);
    options.set_max_packet_size(LARGEST_IN, LARGEST_OUT);
    options.set_last_will(LastWill::new(&topics.availability, "offline", QoS::AtLeastOnce, true));
    if let Some(credentials) = credentials {
        options.set_credentials(&credentials.user, &credentials.password);
    }
    if let Some(tls) = tls {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls.clone())));
    }
    options
}

/// Drives the connection, and makes it anew when it is lost.
async fn poll(mut connection: EventLoop, inputs: Sender<Input>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let told = connection.poll().await;
        let failed = told.is_err();
        if inputs.send(told.map_or_else(Input::Lost, Input::Broker)).await.is_err() {
            return;
        }
        if failed {
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        } else {
            pause = FIRST_PAUSE;
        }
    }
}

async fn tick(inputs: Sender<Input>) {
    while inputs.send(Input::Tick).await.is_ok() {
        tokio::time::sleep(TICK).await;
    }
}
