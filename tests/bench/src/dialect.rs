//! What the servers speak, and how a client comes in: connected, subscribed, with its connect held.
//!
//! Coming in is done with blocking sockets; what is measured goes through [`crate::load`].

use bench::{Result, clock, frame};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The path of Bayeux.
const BAYEUX: &str = "/cometd";

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Bayeux over WebSocket.
    Bayeux,
    /// The same with the acknowledgement extension.
    BayeuxAck,
    /// The same, whose client takes compressed messages.
    BayeuxDeflate,
    /// Bayeux over long-polling.
    LongPolling,
    /// The JSON protocol of Centrifuge.
    Centrifuge,
    /// That of the floor.
    Floor,
}

/// A client that has come in.
#[derive(Debug)]
pub struct Seat {
    /// Its connection.
    pub stream: TcpStream,
    /// What was read of it and not looked at.
    pub unread: Vec<u8>,
    /// What it sends when its connect was answered; with acknowledgements without its end.
    pub again: Vec<u8>,
    /// How to read what comes.
    pub dialect: Dialect,
    /// The client id, where there is one.
    pub id: String,
}

impl Dialect {
    /// Comes in and subscribes to these channels.
    pub fn join(self, address: SocketAddr, channels: &[&str]) -> Result<Seat> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut line = Line { stream, unread: Vec::new() };
        if self == Dialect::LongPolling {
            return line.join_polling(channels);
        }
        line.upgrade(
            if self == Dialect::Centrifuge { "/connection/websocket" } else { BAYEUX },
            self == Dialect::BayeuxDeflate,
        )?;
        let (mut again, mut id) = (Vec::new(), String::new());
        match self {
            Dialect::Centrifuge => {
                line.ask(r#"{"id":1,"connect":{}}"#, "\"connect\"")?;
                for (n, channel) in channels.iter().enumerate() {
                    line.ask(&format!(r#"{{"id":{},"subscribe":{{"channel":"{channel}"}}}}"#, n + 2), "\"subscribe\"")?;
                }
            }
            Dialect::Floor => {
                for channel in channels {
                    line.ask(&format!("S {channel}"), "A")?;
                }
            }
            _ => {
                let ack = self == Dialect::BayeuxAck;
                let ext = if ack { r#","ext":{"ack":true}"# } else { "" };
                let handshake = format!(
                    r#"[{{"id":"1","channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]{ext}}}]"#
                );
                id = client_id(&line.ask(&handshake, "/meta/handshake")?)?;
                for channel in channels {
                    line.ask(&subscribe(&id, channel), "/meta/subscribe")?;
                }
                let ext = if ack { r#","ext":{"ack":0}"# } else { "" };
                let connect =
                    format!(r#"{{"id":"2","channel":"/meta/connect","connectionType":"websocket","clientId":"{id}""#);
                line.ask(&format!(r#"[{connect}{ext},"advice":{{"timeout":0}}}}]"#), "/meta/connect")?;
                again = match ack {
                    true => format!(r#"[{connect},"ext":{{"ack":"#).into_bytes(),
                    false => format!("[{connect}}}]").into_bytes(),
                };
                line.send(&format!("[{connect}{ext}}}]"))?;
            }
        }
        Ok(Seat { stream: line.stream, unread: line.unread, again, dialect: self, id })
    }

    /// A publish, framed. `stamp` is its id where the protocol wants one.
    pub fn publish(self, to: &mut Vec<u8>, id: &str, channel: &str, stamp: u64, size: usize) {
        let data = clock::data(stamp, size);
        let data = String::from_utf8_lossy(&data);
        let text = match self {
            Dialect::Centrifuge => {
                format!(r#"{{"id":{},"publish":{{"channel":"{channel}","data":{data}}}}}"#, stamp as u32 | 1)
            }
            Dialect::Floor => format!(r#"P {channel} [{{"channel":"{channel}","data":{data}}}]"#),
            _ => format!(r#"[{{"id":"{stamp:016}","channel":"{channel}","data":{data},"clientId":"{id}"}}]"#),
        };
        frame::client(to, frame::TEXT, text.as_bytes());
    }
}

/// The text of a subscribe.
pub fn subscribe(id: &str, channel: &str) -> String {
    format!(r#"[{{"id":"3","channel":"/meta/subscribe","subscription":"{channel}","clientId":"{id}"}}]"#)
}

/// The text of an unsubscribe.
pub fn unsubscribe(id: &str, channel: &str) -> String {
    format!(r#"[{{"id":"4","channel":"/meta/unsubscribe","subscription":"{channel}","clientId":"{id}"}}]"#)
}

fn client_id(reply: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(reply);
    let id = text.split_once("\"clientId\":\"").and_then(|(_, rest)| rest.split_once('"'));
    Ok(id.ok_or_else(|| format!("no client id in {text}"))?.0.to_owned())
}

/// A connection with what was read too much of it.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Line {
    /// Goes on blocking with a client's connection.
    pub fn of(seat: Seat) -> Line {
        Line { stream: seat.stream, unread: seat.unread }
    }

    fn more(&mut self) -> Result<()> {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk)? {
            0 => Err("the server closed the connection".into()),
            n => {
                self.unread.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }

    fn upgrade(&mut self, path: &str, compresses: bool) -> Result<()> {
        let extension = if compresses { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extension}\r\n"
        );
        self.stream.write_all(request.as_bytes())?;
        let end = loop {
            if let Some(at) = memchr::memmem::find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 101") || (compresses && !head.contains("permessage-deflate")) {
            return Err(format!("no WebSocket as asked for: {head}").into());
        }
        self.unread.drain(..end);
        Ok(())
    }

    /// Sends a text.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let mut bytes = Vec::new();
        frame::client(&mut bytes, frame::TEXT, text.as_bytes());
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Sends a text and waits for one that holds `answer`; fails on an unsuccessful one.
    pub fn ask(&mut self, text: &str, answer: &str) -> Result<Vec<u8>> {
        self.send(text)?;
        self.expect(answer)
    }

    /// Waits for a text that holds `answer`.
    pub fn expect(&mut self, answer: &str) -> Result<Vec<u8>> {
        loop {
            while let Some(found) = frame::first(&self.unread) {
                let mut payload = self.unread[found.payload.clone()].to_vec();
                self.unread.drain(..found.payload.end);
                if found.compressed {
                    payload = crate::load::inflate(&payload)?;
                }
                refused(&payload)?;
                if memchr::memmem::find(&payload, answer.as_bytes()).is_some() {
                    return Ok(payload);
                }
            }
            self.more()?;
        }
    }

    /// A request of Bayeux, answered: head and body.
    pub fn post(&mut self, to: &str, cookie: &str, json: &str) -> Result<Vec<u8>> {
        self.stream.write_all(&request(to, cookie, json))?;
        loop {
            if let Some(end) = response(&self.unread)? {
                let response = self.unread[..end].to_vec();
                self.unread.drain(..end);
                refused(&response)?;
                return Ok(response);
            }
            self.more()?;
        }
    }

    fn join_polling(mut self, channels: &[&str]) -> Result<Seat> {
        let handshake =
            r#"[{"id":"1","channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]"#;
        let response = self.post("/handshake", "", handshake)?;
        let id = client_id(&response)?;
        let head = String::from_utf8_lossy(&response);
        let cookie = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("set-cookie")
                .then(|| value.trim().split(';').next().unwrap_or_default().to_owned())
        });
        let cookie = format!("Cookie: {}\r\n", cookie.ok_or("no cookie")?);
        for channel in channels {
            self.post("", &cookie, &subscribe(&id, channel))?;
        }
        let connect =
            format!(r#"{{"id":"2","channel":"/meta/connect","connectionType":"long-polling","clientId":"{id}""#);
        self.post("/connect", &cookie, &format!(r#"[{connect},"advice":{{"timeout":0}}}}]"#))?;
        let again = request("/connect", &cookie, &format!("[{connect}}}]"));
        self.stream.write_all(&again)?;
        Ok(Seat { stream: self.stream, unread: self.unread, again, dialect: Dialect::LongPolling, id })
    }
}

/// Fails if a reply in it is unsuccessful.
pub fn refused(payload: &[u8]) -> Result<()> {
    let no = memchr::memmem::find(payload, b"\"successful\":false").or(memchr::memmem::find(payload, b"\"error\":{"));
    match no {
        Some(_) => Err(format!("refused: {}", String::from_utf8_lossy(payload)).into()),
        None => Ok(()),
    }
}

fn request(to: &str, cookie: &str, json: &str) -> Vec<u8> {
    format!(
        "POST {BAYEUX}{to} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{cookie}Content-Length: {}\r\n\r\n{json}",
        json.len()
    )
    .into_bytes()
}

/// Where the response at the beginning of `bytes` ends, if all of it is there; fails when it is not 200.
pub fn response(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let body = head + 4;
    if !bytes.starts_with(b"HTTP/1.1 200") {
        return Err(format!("not 200: {}", String::from_utf8_lossy(bytes)).into());
    }
    for line in bytes[..head].split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if line[..colon].eq_ignore_ascii_case(b"content-length") {
            let length: usize = String::from_utf8_lossy(&line[colon + 1..]).trim().parse()?;
            return Ok((bytes.len() >= body + length).then_some(body + length));
        }
    }
    // Without a length it is chunked: the end is the empty chunk.
    let end = memchr::memmem::find(&bytes[body - 2..], b"\r\n0\r\n\r\n");
    Ok(end.map(|at| body - 2 + at + 7))
}
