//! Which broker, as whom, and what is said to it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use dyn_perceiver::pipeline::GateSignal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::spool::Spool;
use crate::args::number;
use crate::output::failure::{Failure, OrInput as _, wrong};

/// The broker.
#[derive(Args)]
#[command(next_help_heading = "MQTT")]
pub(crate) struct MqttArgs {
    /// Publish state and events to this broker: mqtt://HOST or mqtts://HOST, with a port if it is not 1883 or 8883. Home Assistant
    /// finds the board by itself. See docs/live.md
    #[arg(long, value_name = "URL")]
    mqtt: Option<Broker>,
    /// Log in with the `user:password` in this file
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    mqtt_credentials: Option<PathBuf>,
    /// Trust the certificates in this PEM file for mqtts:// [default: the system's]
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    mqtt_ca: Option<PathBuf>,
    /// Publish below this topic and the device's name
    #[arg(long, value_name = "TOPIC", default_value = "dyn-perceiver", requires = "mqtt", value_parser = topic)]
    mqtt_topic: String,
    /// Announce the board to Home Assistant below this topic
    #[arg(long, value_name = "TOPIC", default_value = "homeassistant", requires = "mqtt", value_parser = topic)]
    mqtt_discovery: String,
    /// Keep events that the broker has not confirmed in this file, up to 1 MiB, too [default: in memory only]
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    mqtt_spool: Option<PathBuf>,
    /// Publish the state every so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", requires = "mqtt", value_parser = number::seconds)]
    mqtt_every: Duration,
    /// Obey commands that come from the broker: pause, snapshot, and mode and floor of a mission
    #[arg(long, requires = "mqtt")]
    mqtt_commands: bool,
    /// Call the board so [default: the machine's name]
    #[arg(long, value_name = "NAME", requires = "mqtt")]
    device_name: Option<String>,
}

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broker {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl FromStr for Broker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected mqtt://HOST, mqtts://HOST or one of them with a port; a password goes into a file";
        let (tls, rest) = match (text.strip_prefix("mqtt://"), text.strip_prefix("mqtts://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(expected.into()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let ends_in_bracket = rest.ends_with(']');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !ends_in_bracket => (host, Some(port)),
            _ => (rest, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_:".contains(letter);
        let port = port.map_or(Ok(if tls { 8883 } else { 1883 }), str::parse).map_err(|_| expected.to_owned())?;
        if host.is_empty() || port == 0 || !host.chars().all(plain) {
            return Err(expected.into());
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

fn topic(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= 200 && !text.contains(['+', '#', '\0']);
    let text = text.trim_matches('/');
    if fits && !text.is_empty() { Ok(text.to_owned()) } else { Err("expected a topic without + and #".into()) }
}

/// A name and a password, which never show in a message.
#[derive(Clone)]
pub(super) struct Credentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a client needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) broker: Broker,
    pub(super) credentials: Option<Credentials>,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) prefix: String,
    pub(super) discovery: String,
    pub(super) spool: Spool,
    pub(super) every: Duration,
    pub(super) commands: bool,
    /// The device's name, if it is not the machine's.
    pub(super) device: Option<String>,
    /// A topic that says whether there may be something to see, and who is told.
    pub(super) sensor: Option<(String, GateSignal)>,
    /// Time without a word after which the broker is asked whether it is there.
    pub(super) keep_alive: Duration,
}

impl MqttArgs {
    /// Whether a broker was named.
    pub(crate) fn is_named(&self) -> bool {
        self.mqtt.is_some()
    }

    /// Reads what is needed for a connection; none where no broker was named.
    pub(crate) fn settings(&self) -> Result<Option<Settings>, Failure> {
        let Some(broker) = self.mqtt.clone() else { return Ok(None) };
        if self.mqtt_ca.is_some() && !broker.tls {
            return wrong("--mqtt-ca is for mqtts://");
        }
        let credentials = self.mqtt_credentials.as_deref().map(credentials).transpose()?;
        if credentials.is_some() && !broker.tls && !is_near(&broker.host) {
            let message =
                format!("--mqtt: the password goes to {} unencrypted; mqtts:// would protect it", broker.host);
            crate::output::message::warning(&message);
        }
        let tls = if broker.tls { Some(tls(self.mqtt_ca.as_deref())?) } else { None };
        let name = || self.mqtt_spool.as_ref().map_or(String::new(), |path| path.display().to_string());
        let spool = Spool::open(self.mqtt_spool.as_deref()).with_context(name).or_input()?;
        Ok(Some(Settings {
            broker,
            credentials,
            tls,
            prefix: self.mqtt_topic.clone(),
            discovery: self.mqtt_discovery.clone(),
            spool,
            every: self.mqtt_every,
            commands: self.mqtt_commands,
            device: self.device_name.clone(),
            sensor: None,
            keep_alive: Duration::from_secs(15),
        }))
    }
}

impl Settings {
    /// Has what comes under a topic tell the gate.
    pub(crate) fn follow(&mut self, topic: &str, signal: GateSignal) {
        self.sensor = Some((topic.to_owned(), signal));
    }
}

fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Reads `user:password`, of which nothing is told when it is wrong.
fn credentials(path: &Path) -> Result<Credentials, Failure> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(4096).read_to_string(&mut text));
    read.with_context(|| path.display().to_string()).or_input()?;
    match text.trim_end_matches(['\r', '\n']).split_once(':') {
        Some((user, password)) if !user.is_empty() && !text.trim_end().contains('\n') => {
            Ok(Credentials { user: user.to_owned(), password: password.to_owned() })
        }
        _ => wrong(format!("{}: expected one line, user:password", path.display())),
    }
}

pub(super) fn tls(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    let path = match ca {
        Some(path) => path,
        None => Path::new("/etc/ssl/certs/ca-certificates.crt"),
    };
    let certificates = CertificateDer::pem_file_iter(path).with_context(|| path.display().to_string()).or_input()?;
    for certificate in certificates {
        let certificate = certificate.with_context(|| path.display().to_string()).or_input()?;
        match roots.add(certificate) {
            Ok(()) => {}
            // Of the system's, some are older than what is understood.
            Err(_) if ca.is_none() => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()).or_input(),
        }
    }
    if roots.is_empty() {
        return wrong(format!("{}: no certificate in it", path.display()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_named_by_address_and_never_with_a_password() {
        let broker = |text: &str| text.parse::<Broker>().map(|Broker { host, port, tls }| (host, port, tls));
        assert_eq!(broker("mqtt://house"), Ok(("house".into(), 1883, false)));
        assert_eq!(broker("mqtts://10.0.0.2/"), Ok(("10.0.0.2".into(), 8883, true)));
        assert_eq!(broker("mqtt://[::1]:99"), Ok(("::1".into(), 99, false)));
        for wrong in
            ["house", "mqtt://", "mqtt://user:secret@house", "mqtt://a:0", "mqtt://a:b", "http://a", "mqtt://a/b"]
        {
            let error = broker(wrong).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_read_from_a_file_and_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, "board:se:cret\n").unwrap();
        let read = credentials(&path).ok().unwrap();
        assert_eq!((read.user.as_str(), read.password.as_str()), ("board", "se:cret"));
        assert!(!format!("{read:?}").contains("cret"));
        std::fs::write(&path, "secret").unwrap();
        let Err(Failure::Input(error)) = credentials(&path) else { panic!("one word is no user and password") };
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    }
}
