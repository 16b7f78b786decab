use super::Error;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;
use url::Url;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TransportKind {
    /// One WebSocket.
    Websocket,
    /// HTTP requests, one of which the server holds until it has something to say.
    LongPolling,
}

impl TransportKind {
    /// Its name in Bayeux's `connectionType`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::LongPolling => "long-polling",
        }
    }
}

/// Which server, and how to speak to it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the server is: `http`, `https`, `ws` or `wss`.
    pub url: Url,
    /// The transport to use. Without one: WebSocket, and long-polling if that cannot be opened.
    pub transport: Option<TransportKind>,
    /// Headers for each HTTP request, the WebSocket's opening handshake among them.
    pub headers: HeaderMap,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

impl Options {
    /// The server's address for a transport: its scheme is made to fit.
    pub(super) fn url_for(&self, transport: TransportKind) -> Url {
        let mut url = self.url.clone();
        let secure = matches!(url.scheme(), "https" | "wss");
        let scheme = match (transport, secure) {
            (TransportKind::Websocket, false) => "ws",
            (TransportKind::Websocket, true) => "wss",
            (TransportKind::LongPolling, false) => "http",
            (TransportKind::LongPolling, true) => "https",
        };
        // All four are "special" schemes, between which a URL may change.
        let changed = url.set_scheme(scheme);
        debug_assert_eq!(changed, Ok(()));
        url
    }

    /// Whether the server is on this machine, so that no proxy from the environment is to be asked.
    pub(super) fn is_local(&self) -> bool {
        match self.url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }
}

/// The part of the command line that says which server, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// Address of the server, such as http://localhost:8080 or wss://example.com/cometd (the path is /cometd if none is given)
    #[arg(value_name = "URL")]
    url: String,
    /// How messages travel [default: websocket, and long-polling if that fails]
    #[arg(long, value_enum)]
    transport: Option<TransportKind>,
    /// How long to wait for an answer, such as 10s or 500ms
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    timeout: Duration,
    /// A header for the HTTP requests, such as 'Authorization: Bearer …' (may be repeated)
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ServerArgs {
    /// Checks what was given.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn options(&self) -> Result<Options, Error> {
        let wrong = |reason: String| Error::Url { url: self.url.clone(), reason };
        let mut url = Url::parse(&self.url).map_err(|error| wrong(format!("this is no URL ({error})")))?;
        if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") {
            return Err(wrong("a URL of a server begins with http://, https://, ws:// or wss://".to_owned()));
        }
        if url.path() == "/" {
            url.set_path("/cometd");
        }
        let asked_for_websocket = matches!(url.scheme(), "ws" | "wss").then_some(TransportKind::Websocket);
        Ok(Options {
            url,
            transport: self.transport.or(asked_for_websocket),
            headers: self.headers.iter().cloned().collect(),
            timeout: self.timeout,
        })
    }
}

/// Reads a time as the config writes it: a number with `ms`, `s` or `m`.
fn time(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let scale = match text[unit..].trim_start() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err("a time is a number with ms, s or m, such as 10s".to_owned()),
    };
    let number: f64 = text[..unit].parse().map_err(|_| "a time begins with a number, such as 10s".to_owned())?;
    let time = Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())?;
    if time.is_zero() || time > Duration::from_secs(86_400) {
        return Err("between a millisecond and a day, please".to_owned());
    }
    Ok(time)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no name of a header"))?;
    let value = value.trim().parse().map_err(|_| "the value has characters that no header can hold".to_owned())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> ServerArgs {
        ServerArgs { url: url.to_owned(), transport: None, timeout: Duration::from_secs(1), headers: Vec::new() }
    }

    #[test]
    fn a_bare_host_means_the_usual_path_and_each_transport_gets_its_scheme() {
        let options = server("https://example.com:8443").options().unwrap();
        assert_eq!(options.transport, None);
        assert_eq!(options.url_for(TransportKind::Websocket).as_str(), "wss://example.com:8443/cometd");
        assert_eq!(options.url_for(TransportKind::LongPolling).as_str(), "https://example.com:8443/cometd");
        assert_eq!(server("http://h/bayeux").options().unwrap().url.path(), "/bayeux");
    }

    #[test]
    fn a_websocket_address_asks_for_a_websocket() {
        assert_eq!(server("ws://h/").options().unwrap().transport, Some(TransportKind::Websocket));
        assert_eq!(server("http://h/").options().unwrap().transport, None);
    }

    #[test]
    fn an_address_that_cannot_be_used_says_why() {
        let said = |url| server(url).options().unwrap_err().to_string();
        assert_eq!(said("ftp://h/"), "ftp://h/: a URL of a server begins with http://, https://, ws:// or wss://");
        assert_eq!(said("8080"), "8080: this is no URL (relative URL without a base)");
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["10", "s", "0s", "1h", "-1s", "100000m", "1..5s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn proxies_are_for_other_machines() {
        for local in ["http://localhost:1/", "http://127.0.0.1:1/", "ws://[::1]:1/"] {
            assert!(server(local).options().unwrap().is_local(), "{local}");
        }
        assert!(!server("http://example.com/").options().unwrap().is_local());
    }
}
