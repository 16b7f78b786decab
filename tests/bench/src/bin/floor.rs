//! The floor: what a server that does nothing but accept WebSockets and write to them costs.
//!
//! `gateway-bench-floor plain|coalescing PORT`, one thread around epoll. A text frame `S name` subscribes to `name`, `P name payload` sends `payload` to its
//! subscribers; either is answered by the frame `A`. *Plain* writes each message to each subscriber as it comes;
//! *coalescing* handles all publishes that one read brought and then writes each subscriber once.

use bench::{Result, frame};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};

const LISTENER: Token = Token(usize::MAX);

struct Peer {
    stream: TcpStream,
    open: bool,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

impl Peer {
    /// Sends now what the socket takes, and the rest when it is writable.
    fn send(&mut self, bytes: &[u8]) {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return;
        }
        match self.stream.write(bytes) {
            Ok(n) => self.unsent.extend_from_slice(&bytes[n..]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.unsent.extend_from_slice(bytes),
            Err(_) => {}
        }
    }
}

#[derive(Default)]
struct Floor {
    coalescing: bool,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    channels: HashMap<Vec<u8>, Channel>,
}

#[derive(Default)]
struct Channel {
    subscribers: Vec<usize>,
    /// What the current read brought for them.
    frames: Vec<u8>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut floor = Floor { coalescing: arguments.next().as_deref() == Some("coalescing"), ..Floor::default() };
    let port = arguments.next().ok_or("gateway-bench-floor plain|coalescing PORT")?.parse()?;
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut listener = TcpListener::bind(std::net::SocketAddr::from(([127, 0, 0, 1], port)))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    floor.accept(stream, poll.registry())?;
                }
            } else {
                floor.ready(event.token().0, &mut buffer);
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, mut stream: TcpStream, registry: &mio::Registry) -> Result<()> {
        stream.set_nodelay(true)?;
        let at = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        registry.register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        self.peers[at] = Some(Peer { stream, open: false, unread: Vec::new(), unsent: Vec::new() });
        Ok(())
    }

    fn ready(&mut self, at: usize, buffer: &mut [u8]) {
        let Some(peer) = &mut self.peers[at] else { return };
        if !peer.unsent.is_empty() {
            let waiting = std::mem::take(&mut peer.unsent);
            peer.send(&waiting);
        }
        loop {
            let Some(peer) = &mut self.peers[at] else { return };
            match peer.stream.read(buffer) {
                Ok(0) => return self.leave(at),
                Ok(n) => {
                    peer.unread.extend_from_slice(&buffer[..n]);
                    self.handle(at);
                    if n < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.leave(at),
            }
        }
    }

    fn leave(&mut self, at: usize) {
        self.peers[at] = None;
        self.free.push(at);
        self.channels.retain(|_, channel| {
            channel.subscribers.retain(|subscriber| *subscriber != at);
            !channel.subscribers.is_empty()
        });
    }

    /// All that one read brought.
    fn handle(&mut self, at: usize) {
        let Some(peer) = &mut self.peers[at] else { return };
        let mut unread = std::mem::take(&mut peer.unread);
        if !peer.open {
            if !unread.ends_with(b"\r\n\r\n") {
                peer.unread = unread;
                return;
            }
            peer.open = true;
            // The client of the benchmark always has the key of the RFC's example.
            peer.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
            return;
        }
        let (mut done, mut answers, mut touched) = (0, Vec::new(), Vec::new());
        while let Some(found) = frame::first(&unread[done..]) {
            let payload = &mut unread[done..][found.payload.clone()];
            if let Some(mask) = found.mask {
                frame::unmask(payload, mask);
            }
            if found.opcode == frame::TEXT && self.message(at, payload, &mut touched) {
                frame::server(&mut answers, frame::TEXT, b"A");
            }
            done += found.payload.end;
        }
        for name in touched {
            if let Some(channel) = self.channels.get_mut(name.as_slice()) {
                for subscriber in &channel.subscribers {
                    if let Some(peer) = &mut self.peers[*subscriber] {
                        peer.send(&channel.frames);
                    }
                }
                channel.frames.clear();
            }
        }
        let Some(peer) = &mut self.peers[at] else { return };
        if done < unread.len() {
            peer.unread = unread.split_off(done);
        }
        if !answers.is_empty() {
            peer.send(&answers);
        }
    }

    fn message(&mut self, from: usize, message: &[u8], touched: &mut Vec<Vec<u8>>) -> bool {
        let Some((kind, rest)) = message.split_at_checked(2) else { return false };
        match kind {
            b"S " => self.channels.entry(rest.to_vec()).or_default().subscribers.push(from),
            b"P " => {
                let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
                let Some(channel) = self.channels.get_mut(&rest[..end]) else { return true };
                if channel.frames.is_empty() && self.coalescing {
                    touched.push(rest[..end].to_vec());
                }
                frame::server(&mut channel.frames, frame::TEXT, rest.get(end + 1..).unwrap_or_default());
                if !self.coalescing {
                    for subscriber in &channel.subscribers {
                        if let Some(peer) = &mut self.peers[*subscriber] {
                            peer.send(&channel.frames);
                        }
                    }
                    channel.frames.clear();
                }
            }
            _ => return false,
        }
        true
    }
}
