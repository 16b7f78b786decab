//! What the proxy that the clients' stories rely on does to a connection.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use gateway_tests::proxy::{Proxy, Temper};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

/// A server that says back what it hears, for as long as the test runs.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = copy(&mut from, &mut to).await;
            });
        }
    });
    port
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap()
}

/// All that comes until the connection ends, and whether it ended with a reset.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut heard = Vec::new();
    let reset = match stream.read_to_end(&mut heard).await {
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    (heard, reset)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_through_in_small_pieces_arrives_whole() {
    let proxy = Proxy::start(echo().await, Temper::fickle()).await;
    let mut stream = connect(&proxy).await;
    let said: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
    stream.write_all(&said).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, (said, false));
    let counts = proxy.counts();
    assert!(counts.pieces > 2 * 20_000 / 90 && counts.held > 0, "{counts:?}");
    assert_eq!((counts.connections, counts.cuts), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seed_does_the_same_every_time() {
    let mut outcomes = Vec::new();
    for seed in [7, 7, 8] {
        let temper = Temper { seed, hold: Duration::ZERO, ..Temper::fickle() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap().port(), temper).await;
        proxy.cut_after(1000..=9000, 1);
        let mut near = connect(&proxy).await;
        let (_far, _) = listener.accept().await.unwrap(); // it says nothing
        near.write_all(&[1; 10_000]).await.unwrap();
        rest(&mut near).await;
        outcomes.push(proxy.until(|counts| counts.cuts == 1).await);
    }
    assert_eq!(outcomes[0], outcomes[1]);
    assert_ne!(outcomes[0], outcomes[2], "another does something else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_cut_after_so_many_bytes_and_the_next_one_when_it_is_told() {
    let proxy = Proxy::start(echo().await, Temper::calm()).await;
    proxy.cut_after(10..=10, 1);
    let mut first = connect(&proxy).await;
    let _ = first.write_all(&[1; 1000]).await;
    let (heard, _) = rest(&mut first).await;
    assert!(heard.is_empty(), "ten bytes went up, and none came back: {}", heard.len());
    assert_eq!(proxy.until(|counts| counts.cuts == 1).await.connections, 1);

    let mut second = connect(&proxy).await;
    second.write_all(&[1; 1000]).await.unwrap();
    second.read_exact(&mut [0; 1000]).await.unwrap();
    proxy.cut();
    assert!(rest(&mut second).await.0.is_empty());
    proxy.until(|counts| counts.cuts == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_while_it_refuses_and_those_inside_stay() {
    let proxy = Proxy::start(echo().await, Temper::calm()).await;
    let mut inside = connect(&proxy).await;
    inside.write_all(b"a").await.unwrap();
    inside.read_exact(&mut [0]).await.unwrap();
    proxy.refuse().await;
    let refused = TcpStream::connect(("127.0.0.1", proxy.port())).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    inside.write_all(b"b").await.unwrap();
    inside.read_exact(&mut [0]).await.unwrap();
    proxy.accept().await;
    connect(&proxy).await.write_all(b"c").await.unwrap();
}
