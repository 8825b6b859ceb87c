//! The client before a real broker: Mosquitto, started here on this machine alone. Without it these tests are skipped and say so.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dyn_perceiver::pipeline::GateSignal;
use rumqttc::{Client as Other, Event as Told, MqttOptions, Packet, QoS};

use super::settings::{Broker, Credentials};
use super::spool::Spool;
use super::{Client, Settings};
use crate::live::{EventKind, Events, Facts, Live, NewEvent, Publisher, sample_state};
use crate::live::{Publication, Wish};
use crate::output::message::note;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Mosquitto {
    child: Child,
    port: u16,
}

impl Mosquitto {
    /// Starts a broker; none where there is none on this machine.
    fn start(folder: &Path, port: u16, settings: &str) -> Option<Self> {
        let file = folder.join("mosquitto.conf");
        std::fs::write(&file, format!("listener {port} 127.0.0.1\nlog_type none\n{settings}\n")).unwrap();
        let started = ["mosquitto", "/usr/sbin/mosquitto"].into_iter().find_map(|program| {
            Command::new(program).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
        });
        let Some(child) = started else {
            note("skipped: no mosquitto on this machine; apt-get install mosquitto");
            return None;
        };
        wait_until("the broker listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Some(Self { child, port })
    }

    fn open(folder: &Path) -> Option<Self> {
        Self::start(folder, free_port(), "allow_anonymous true")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A message: its topic, what it says, and whether it was retained.
type Heard = (String, Vec<u8>, bool);

/// Whoever listens to everything.
struct Observer {
    client: Other,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Observer {
    fn new(port: u16, login: Option<(&str, &str)>) -> Self {
        let mut options = MqttOptions::new("observer", "127.0.0.1", port);
        options.set_max_packet_size(5 << 20, 5 << 20);
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        let (client, mut connection) = Other::new(options, 16);
        client.subscribe("#", QoS::AtLeastOnce).unwrap();
        let (heard, subscribed): (Arc<Mutex<Vec<_>>>, Arc<AtomicBool>) = Default::default();
        let (all, is_subscribed) = (heard.clone(), subscribed.clone());
        std::thread::spawn(move || {
            for told in connection.iter() {
                match told {
                    Ok(Told::Incoming(Packet::Publish(one))) => {
                        all.lock().unwrap().push((one.topic, one.payload.to_vec(), one.retain));
                    }
                    Ok(Told::Incoming(Packet::SubAck(_))) => is_subscribed.store(true, Ordering::Relaxed),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        wait_until("the observer listens", || subscribed.load(Ordering::Relaxed));
        Self { client, heard }
    }

    /// The payloads under a topic so far.
    fn of(&self, topic: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|one| one.0 == topic).map(|one| String::from_utf8_lossy(&one.1).into_owned()).collect()
    }

    /// Whether a topic has a retained message.
    fn retained(&self, topic: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|one| one.0 == topic && one.2)
    }

    /// Numbers of the events that arrived.
    fn events(&self) -> Vec<u64> {
        let number = |event: &String| serde_json::from_str::<serde_json::Value>(event).unwrap()["id"].as_u64().unwrap();
        self.of("dyn-perceiver/tree_7/event").iter().map(number).collect()
    }
}

fn settings(port: u16) -> Settings {
    Settings {
        broker: Broker { host: "127.0.0.1".into(), port, tls: false },
        credentials: None,
        tls: None,
        prefix: "dyn-perceiver".into(),
        discovery: "homeassistant".into(),
        spool: Spool::open(None).unwrap(),
        every: Duration::from_secs(1),
        commands: false,
        device: Some("tree 7".into()),
        sensor: None,
        keep_alive: Duration::from_secs(1),
    }
}

fn happen(live: &Live, count: usize) {
    for _ in 0..count {
        let jpeg = Some([0xff, 0xd8, 0xff, 0xd9].as_slice().into());
        let (event, label) = (EventKind::Appeared, "cat".into());
        live.events().push(NewEvent { event, class: 1, label, confidence: 0.5, frame: 3, jpeg });
    }
}

fn loop_of_one_frame() -> Arc<Live> {
    let live = Live::new(Events::default());
    Publisher::new(live.clone(), &Arc::default()).publish(sample_state(), None, Duration::ZERO);
    live
}

#[test]
fn state_events_and_discovery_arrive_and_a_goodbye() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::open(folder.path()) else { return };
    let observer = Observer::new(broker.port, None);
    let live = loop_of_one_frame();
    let client = Client::start(settings(broker.port), live.clone(), Facts::default()).unwrap();
    wait_until("the state arrives", || !observer.of("dyn-perceiver/tree_7/state").is_empty());
    let state: serde_json::Value = serde_json::from_str(&observer.of("dyn-perceiver/tree_7/state")[0]).unwrap();
    assert_eq!((state["kind"].as_str(), state["device"].as_str()), (Some("live"), Some("tree 7")));
    let about = &observer.of("homeassistant/device/tree_7/config")[0];
    let about: serde_json::Value = serde_json::from_str(about).unwrap();
    assert_eq!(about["cmps"]["soc"]["device_class"], "battery");
    assert_eq!(about["cmps"]["soc"]["state_topic"], "dyn-perceiver/tree_7/state");
    assert!(about["cmps"]["pause"].is_null(), "no commands, no switch");
    happen(&live, 3);
    wait_until("the events arrive", || observer.events() == [1, 2, 3]);
    wait_until("a picture arrives", || !observer.of("dyn-perceiver/tree_7/snapshot").is_empty());
    drop(client);
    wait_until("the board is gone", || {
        observer.of("dyn-perceiver/tree_7/availability").iter().map(String::as_str).eq(["online", "offline"])
    });
    // Whoever comes later learns what stands, and not what happened.
    let later = Observer::new(broker.port, None);
    for name in ["availability", "state", "snapshot"] {
        wait_until(name, || later.retained(&format!("dyn-perceiver/tree_7/{name}")));
    }
    wait_until("discovery", || later.retained("homeassistant/device/tree_7/config"));
    assert!(later.events().is_empty());
}

#[test]
fn events_wait_for_a_broker_that_is_away_and_come_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::open(folder.path()) else { return };
    let gate = Gate::new(broker.port);
    let live = loop_of_one_frame();
    let client = Client::start(settings(gate.port), live.clone(), Facts::default()).unwrap();
    let observer = Observer::new(broker.port, None);
    happen(&live, 2);
    wait_until("the first events arrive", || observer.events() == [1, 2]);
    gate.close();
    let port = broker.port;
    drop(broker);
    for _ in 0..10 {
        happen(&live, 5);
        std::thread::sleep(Duration::from_millis(50));
    }
    let Some(_broker) = Mosquitto::start(folder.path(), port, "allow_anonymous true") else { return };
    let observer = Observer::new(port, None);
    gate.open();
    wait_until("the others arrive", || observer.events().last() == Some(&52));
    assert_eq!(observer.events(), (3..=52).collect::<Vec<_>>());
    drop(client);
}

#[test]
fn what_rules_publish_comes_under_its_topic_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::open(folder.path()) else { return };
    let observer = Observer::new(broker.port, None);
    let live = loop_of_one_frame();
    let say = |text: &str| live.events().publish(Publication { topic: "alarms/door".into(), text: text.into() });
    // Before there is a connection, and after.
    say("cat");
    let spool = folder.path().join("spool");
    let settings = Settings { spool: Spool::open(Some(&spool)).unwrap(), ..settings(broker.port) };
    let _client = Client::start(settings, live.clone(), Facts::default()).unwrap();
    wait_until("the first arrives", || observer.of("alarms/door") == ["cat"]);
    happen(&live, 2);
    say("{\"topic\":\"elsewhere\",\"text\":\"\"}");
    say("");
    wait_until("the others arrive", || observer.of("alarms/door").len() == 3);
    assert_eq!(observer.of("alarms/door")[1..], ["{\"topic\":\"elsewhere\",\"text\":\"\"}", ""]);
    assert_eq!((observer.events(), observer.of("elsewhere").len()), (vec![1, 2], 0));
}

/// A certificate authority and, signed by it, a certificate for this machine; none where there is no openssl.
fn certificates(folder: &Path) -> Option<()> {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success()).then_some(())
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for name in ["ca", "other"] {
        openssl(&format!("req -x509 {key} -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}"))?;
    }
    openssl(&format!("req {key} -keyout broker.key -out broker.csr -subj /CN=broker"))?;
    openssl("x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out broker.pem -days 2 -extfile names")
}

#[test]
fn over_tls_a_broker_is_believed_that_the_certificate_authority_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    if certificates(folder.path()).is_none() {
        return note("skipped: no openssl on this machine that makes certificates; apt-get install openssl");
    }
    let plain = free_port();
    // Mosquitto started by root becomes another user, who reads the files, too.
    let config = format!(
        "certfile {}\nkeyfile {}\nlistener {plain} 127.0.0.1\nallow_anonymous true\nuser root",
        path("broker.pem").display(),
        path("broker.key").display()
    );
    let Some(broker) = Mosquitto::start(folder.path(), free_port(), &config) else { return };
    wait_until("the broker listens twice", || TcpStream::connect((Ipv4Addr::LOCALHOST, plain)).is_ok());
    let (gate, observer) = (Gate::new(broker.port), Observer::new(plain, None));
    let trusting = |ca: &str| Settings {
        broker: Broker { host: "127.0.0.1".into(), port: gate.port, tls: true },
        tls: Some(super::settings::tls(Some(&path(ca))).ok().unwrap()),
        ..settings(gate.port)
    };
    let live = loop_of_one_frame();
    let client = Client::start(trusting("other.pem"), live.clone(), Facts::default()).unwrap();
    wait_until("it was tried twice", || gate.made() >= 2);
    drop(client);
    assert!(observer.of("dyn-perceiver/tree_7/availability").is_empty());
    let _client = Client::start(trusting("ca.pem"), live.clone(), Facts::default()).unwrap();
    happen(&live, 2);
    wait_until("the events arrive", || observer.events() == [1, 2]);
}

#[test]
fn a_connection_that_is_dead_at_one_end_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::open(folder.path()) else { return };
    let (gate, observer) = (Gate::new(broker.port), Observer::new(broker.port, None));
    let live = loop_of_one_frame();
    let _client = Client::start(settings(gate.port), live.clone(), Facts::default()).unwrap();
    wait_until("the state arrives", || !observer.of("dyn-perceiver/tree_7/state").is_empty());
    gate.swallow();
    happen(&live, 4);
    // Nothing comes through, and nothing says so, until the broker's silence does.
    wait_until("another connection is made", || gate.made() >= 2);
    wait_until("the events arrive", || observer.events() == [1, 2, 3, 4]);
}

#[test]
fn commands_are_obeyed_only_where_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::open(folder.path()) else { return };
    let observer = Observer::new(broker.port, None);
    for allowed in [false, true] {
        let live = loop_of_one_frame();
        let settings = Settings { commands: allowed, ..settings(broker.port) };
        let _client = Client::start(settings, live.clone(), Facts::default()).unwrap();
        let states = || observer.of("dyn-perceiver/tree_7/state").len();
        let before = states();
        wait_until("the state arrives", || states() > before);
        let say = |name: &str, payload: &str| {
            let topic = format!("dyn-perceiver/tree_7/command/{name}");
            observer.client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
        };
        say("pause", "neither");
        say("format-disk", "yes");
        say("mode", "floor");
        say("floor", "92 %");
        say("floor", "992 %");
        say("pause", "ON");
        if allowed {
            wait_until("the loop pauses", || live.is_paused());
            say("pause", "OFF");
            wait_until("the loop goes on", || !live.is_paused());
            assert_eq!(live.take_wishes(), [Wish::KeepFloor(true), Wish::Floor(0.92)]);
        } else {
            let states_then = states();
            wait_until("two more states", || states() >= states_then + 2);
            assert!(!live.is_paused() && live.take_wishes().is_empty());
        }
    }
}

#[test]
fn a_sensor_tells_the_gate_until_the_broker_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::open(folder.path()) else { return };
    let (gate, observer) = (Gate::new(broker.port), Observer::new(broker.port, None));
    let say = |payload: &str| observer.client.publish("house/pir", QoS::AtLeastOnce, true, payload).unwrap();
    // What was said before still holds.
    say("OFF");
    wait_until("it is retained", || !observer.of("house/pir").is_empty());
    let signal = GateSignal::new(true);
    let mut settings = settings(gate.port);
    settings.follow("house/pir", signal.clone());
    let _client = Client::start(settings, loop_of_one_frame(), Facts::default()).unwrap();
    wait_until("the sensor is quiet", || !signal.is_active());
    say("{\"occupancy\":true}");
    wait_until("the sensor is active", || signal.is_active());
    say("0");
    wait_until("the sensor is quiet again", || !signal.is_active());
    gate.close();
    wait_until("nobody relies on it", || signal.is_active());
}

#[test]
fn a_wrong_password_is_refused_and_the_right_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords");
    let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args(["board", "right"]).status();
    if !made.is_ok_and(|status| status.success()) {
        return note("skipped: no mosquitto_passwd on this machine; apt-get install mosquitto");
    }
    let config = format!("allow_anonymous false\npassword_file {}", file.display());
    // Mosquitto started by root becomes another user, who reads the file, too.
    let config = format!("{config}\nuser root");
    let Some(broker) = Mosquitto::start(folder.path(), free_port(), &config) else { return };
    let observer = Observer::new(broker.port, Some(("board", "right")));
    let gate = Gate::new(broker.port);
    let with = |password: &str| {
        let credentials = Credentials { user: "board".into(), password: password.into() };
        Settings { credentials: Some(credentials), ..settings(gate.port) }
    };
    let live = loop_of_one_frame();
    let client = Client::start(with("wrong"), live.clone(), Facts::default()).unwrap();
    wait_until("it was tried twice", || gate.made() >= 2);
    drop(client);
    assert!(observer.of("dyn-perceiver/tree_7/availability").is_empty());
    let _client = Client::start(with("right"), live, Facts::default()).unwrap();
    wait_until("the board is there", || observer.of("dyn-perceiver/tree_7/availability") == ["online"]);
}

/// A connection, and whether what comes through it is swallowed.
type Way = (Arc<AtomicBool>, TcpStream);

/// A way to the broker that can be closed, or swallow what goes through it.
struct Gate {
    port: u16,
    closed: Arc<AtomicBool>,
    made: Arc<Mutex<Vec<Way>>>,
}

impl Gate {
    fn new(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let closed = Arc::new(AtomicBool::new(false));
        let made: Arc<Mutex<Vec<Way>>> = Arc::default();
        let (is_closed, all) = (closed.clone(), made.clone());
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
                let Some(there) = (!is_closed.load(Ordering::Relaxed)).then(|| TcpStream::connect(broker)) else {
                    continue;
                };
                let Ok(there) = there else { continue };
                let swallows = Arc::new(AtomicBool::new(false));
                all.lock().unwrap().push((swallows.clone(), from.try_clone().unwrap()));
                for (mut source, mut sink) in [(from.try_clone().unwrap(), there.try_clone().unwrap()), (there, from)] {
                    let swallows = swallows.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(count @ 1..) = source.read(&mut buffer) {
                            if !swallows.load(Ordering::Relaxed) && sink.write_all(&buffer[..count]).is_err() {
                                break;
                            }
                        }
                        if !swallows.load(Ordering::Relaxed) {
                            let _ = sink.shutdown(Shutdown::Both);
                        }
                    });
                }
            }
        });
        Self { port, closed, made }
    }

    /// Cuts what goes through, and lets nothing in.
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.made.lock().unwrap().iter().for_each(|(_, stream)| drop(stream.shutdown(Shutdown::Both)));
    }

    fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
    }

    /// Has present connections stay, while nothing comes through them any more.
    fn swallow(&self) {
        self.made.lock().unwrap().iter().for_each(|(swallows, _)| swallows.store(true, Ordering::Relaxed));
    }

    /// Connections made so far.
    fn made(&self) -> usize {
        self.made.lock().unwrap().len()
    }
}
