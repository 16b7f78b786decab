//! The public listener as the world meets it: TLS, and pages of other origins.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests as well

use gateway_tests::bayeux::{handshake_body, http_client, messages};
use gateway_tests::gateway::Gateway;
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as WsError, Message as Frame};
use tokio_tungstenite::{Connector, connect_async, connect_async_tls_with_config};

const ORIGIN: &str = "https://app.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn https_and_wss_are_served_with_the_configured_certificate() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (certificate.display(), key.display());
    let gateway =
        Gateway::start(&format!("server: {{ tls: {{ cert_file: \"{certificate}\", key_file: \"{key}\" }} }}"));

    let _ = http_client(); // installs the TLS provider
    let trusted = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
    let url = format!("https://localhost:{}/cometd", gateway.port());
    let body = http.post(&url).body(handshake_body()).send().await.unwrap().text().await.unwrap();
    assert!(messages(&body)[0].ok(), "{body}");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let url = format!("wss://localhost:{}/cometd", gateway.port());
    let connector = Some(Connector::Rustls(Arc::new(tls)));
    let (mut socket, _) = connect_async_tls_with_config(&url, None, true, connector).await.unwrap();
    use futures_util::{SinkExt as _, StreamExt as _};
    socket.send(Frame::text(handshake_body())).await.unwrap();
    let reply = socket.next().await.unwrap().unwrap();
    assert!(messages(reply.to_text().unwrap())[0].ok(), "{reply}");

    let plain = http_client().post(gateway.url()).body(handshake_body()).send().await;
    assert!(plain.is_err(), "plain HTTP is not served there");
}

async fn from_page(gateway: &Gateway, method: Method, origin: &str) -> (u16, HeaderMap) {
    let mut request = http_client().request(method.clone(), gateway.url()).header("origin", origin);
    if method == Method::OPTIONS {
        request = request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
    } else {
        request = request.header("content-type", "application/json").body(handshake_body());
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.headers().clone())
}

async fn socket_from_page(gateway: &Gateway, origin: Option<&str>) -> Result<(), u16> {
    let mut request = gateway.url().replacen("http", "ws", 1).into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    match connect_async(request).await {
        Ok(_) => Ok(()),
        Err(WsError::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_use_it_with_their_cookies_and_no_others() {
    let gateway = Gateway::start(&format!("server: {{ allowed_origins: [\"{ORIGIN}\"] }}"));
    for method in [Method::OPTIONS, Method::POST] {
        let (status, headers) = from_page(&gateway, method.clone(), ORIGIN).await;
        assert!((200..300).contains(&status), "{method} {status}");
        assert_eq!(headers["access-control-allow-origin"], ORIGIN, "{method}: never a star, for cookies go along");
        assert_eq!(headers["access-control-allow-credentials"], "true", "{method}");
        let (_, headers) = from_page(&gateway, method.clone(), "https://evil.example.com").await;
        assert!(!headers.contains_key("access-control-allow-origin"), "{method}: {headers:?}");
    }
    assert_eq!(socket_from_page(&gateway, Some(ORIGIN)).await, Ok(()));
    assert_eq!(socket_from_page(&gateway, None).await, Ok(()), "what is no browser sends no origin");
    assert_eq!(socket_from_page(&gateway, Some("https://evil.example.com")).await, Err(403));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_allowed_origins_only_its_own_pages_may_use_it() {
    let gateway = Gateway::start("{}");
    assert_eq!(socket_from_page(&gateway, Some(&gateway.base())).await, Ok(()));
    assert_eq!(socket_from_page(&gateway, Some(ORIGIN)).await, Err(403));
    let (_, headers) = from_page(&gateway, Method::OPTIONS, ORIGIN).await;
    assert!(!headers.contains_key("access-control-allow-origin"), "{headers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_may_use_it_may_import_the_replay_extension() {
    let gateway = Gateway::start(&format!("server: {{ allowed_origins: [\"{ORIGIN}\"] }}"));
    let url = format!("{}/replay.js", gateway.url());
    let get = async |url: &str, origin: Option<&str>| {
        let request =
            origin.into_iter().fold(http_client().get(url), |request, origin| request.header("origin", origin));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.headers().clone(), response.text().await.unwrap())
    };
    let (status, headers, text) = get(&url, Some(ORIGIN)).await;
    assert_eq!((status, &headers["content-type"]), (200, &"text/javascript; charset=utf-8".parse().unwrap()));
    assert_eq!(headers["access-control-allow-origin"], ORIGIN);
    assert!(text.contains("export class Replay"), "{text}");
    assert_eq!(get(&url, None).await.0, 200, "its own pages send no origin");
    let (status, headers, _) = get(&url, Some("https://evil.example.com")).await;
    assert_eq!((status, headers.contains_key("access-control-allow-origin")), (403, false));

    // Whatever else goes there is Bayeux, as anywhere below the path.
    let handshake = http_client().post(&url).header("content-type", "application/json").body(handshake_body());
    assert!(messages(&handshake.send().await.unwrap().text().await.unwrap())[0].ok());
    let callback = reqwest::Url::parse_with_params(&url, [("jsonp", "back"), ("message", &handshake_body())]).unwrap();
    let (_, _, text) = get(callback.as_str(), None).await;
    assert!(text.contains("back(["), "{text}");
    assert_eq!(get(&format!("{}/replay.jsx", gateway.url()), None).await.0, 400);
}
