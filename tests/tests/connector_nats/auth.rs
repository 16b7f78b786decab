//! Each login once, against a server that demands it.

use crate::kit::{connect, read, record, refusal, text, until};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector::{PublishError, Start, State, SubscribeError};
use gateway_tests::lab::{Broker, Kind};
use gateway_tests::story::aside;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// A server with more in its configuration.
fn server(dir: &Path, extra: &str) -> Broker {
    let extra = write(dir, "extra.conf", extra);
    aside(|| Broker::own(Kind::Nats, &[("NATS_CONFIG_EXTRA", &extra)]))
}

/// The login is good: what is published arrives.
async fn works(nats: &Broker, settings: Value) {
    let connector = connect(nats, settings);
    let mut reader = read(&connector, "a.*", Start::Live).await;
    connector.publish(record("a.b", "hello")).await.unwrap();
    assert_eq!(text(&reader.next().await), "hello");
}

/// The login is not: the connector waits, and says why.
async fn is_turned_away(nats: &Broker, settings: Value, reason: &str) {
    let connector = connect(nats, settings);
    let mut health = connector.health();
    let told = crate::kit::within("the reason is told", health.wait_for(|h| h.reason.contains(reason))).await;
    assert_eq!(told.unwrap().state, State::Connecting);
    let error = refusal(&connector, record("a.b", "1")).await;
    assert!(matches!(error, PublishError::Unavailable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_password() {
    let nats = aside(|| Broker::own(Kind::Nats, &[("NATS_USER", "gw"), ("NATS_PASSWORD", "s3cret")]));
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "password", "s3cret\n");
    works(&nats, json!({ "user": "gw", "password": "s3cret" })).await;
    works(&nats, json!({ "user": "gw", "password_file": file })).await;
    is_turned_away(&nats, json!({ "user": "gw", "password": "wrong" }), "authorization violation").await;
    is_turned_away(&nats, json!({}), "authorization violation").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_needs_no_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "password", "old");
    let conf = |password: &str| format!("authorization {{ user: gw, password: \"{password}\" }}\n");
    let nats = server(dir.path(), &conf("old"));
    let connector = connect(&nats, json!({ "user": "gw", "password_file": file }));
    until(&connector, State::Up).await;
    aside(|| nats.kill());
    write(dir.path(), "extra.conf", &conf("new"));
    write(dir.path(), "password", "new");
    until(&connector, State::Down).await;
    aside(|| nats.start());
    until(&connector, State::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token() {
    let dir = tempfile::tempdir().unwrap();
    let nats = server(dir.path(), "authorization { token: \"t0ken\" }\n");
    works(&nats, json!({ "token": "t0ken" })).await;
    let file = write(dir.path(), "token", "t0ken");
    works(&nats, json!({ "token_file": file })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nkey() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::new_user();
    let nats = server(dir.path(), &format!("authorization {{ users: [ {{ nkey: {} }} ] }}\n", key.public_key()));
    let file = write(dir.path(), "seed", &key.seed().unwrap());
    works(&nats, json!({ "nkey_seed_file": file })).await;
    let other = write(dir.path(), "other", &KeyPair::new_user().seed().unwrap());
    is_turned_away(&nats, json!({ "nkey_seed_file": other }), "authorization violation").await;
}

/// A JWT as NATS reads it: claims signed by an nkey.
fn jwt(signer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "jti": subject.public_key(), "iat": now, "iss": signer.public_key(), "name": "test",
                         "sub": subject.public_key(), "nats": nats });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_file_of_an_account_with_jetstream() {
    let dir = tempfile::tempdir().unwrap();
    let (operator, account, system, user) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
                         "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1 });
    let account_claims = json!({ "limits": limits, "default_permissions": {}, "type": "account", "version": 2 });
    let mut system_claims = account_claims.clone();
    for none in ["mem_storage", "disk_storage", "streams", "consumer"] {
        system_claims["limits"][none] = json!(0);
    }
    let user_claims =
        json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let nats = server(
        dir.path(),
        &format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n  {}: {}\n  {}: {}\n}}\n",
            jwt(&operator, &operator, &json!({ "type": "operator", "version": 2 })),
            system.public_key(),
            account.public_key(),
            jwt(&operator, &account, &account_claims),
            system.public_key(),
            jwt(&operator, &system, &system_claims),
        ),
    );
    let credentials = |key: &KeyPair| {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            jwt(&account, &user, &user_claims),
            key.seed().unwrap()
        )
    };
    let file = write(dir.path(), "gw.creds", &credentials(&user));
    works(&nats, json!({ "credentials_file": file })).await;
    let connector = connect(&nats, json!({ "credentials_file": file, "jetstream": true }));
    until(&connector, State::Up).await;
    let error = refusal(&connector, record("a.b", "1")).await;
    assert!(matches!(error, PublishError::TopicUnknown(_)), "{error:?}");
    let stolen = write(dir.path(), "stolen.creds", &credentials(&KeyPair::new_user()));
    is_turned_away(&nats, json!({ "credentials_file": stolen }), "authorization violation").await;
}

/// A certificate authority, and a certificate by it for 127.0.0.1.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_our_own_authority_and_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = write(dir.path(), "ca.pem", &authority.pem);
    let files = |name: &str, subject: &str| {
        let (cert, key) = authority.issue(subject);
        (write(dir.path(), &format!("{name}.pem"), &cert), write(dir.path(), &format!("{name}.key"), &key))
    };
    let (cert, key) = files("server", "127.0.0.1");
    let (client_cert, client_key) = files("client", "gateway");
    let nats = server(
        dir.path(),
        &format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: true }}\n"),
    );
    let tls = json!({ "ca_file": ca, "cert_file": client_cert, "key_file": client_key });
    works(&nats, json!({ "tls": tls })).await;
    let secure = nats.url().replace("nats://", "tls://");
    works(&nats, json!({ "servers": [secure], "tls": tls })).await;
    // A certificate that we do not trust, and a server that does not get ours.
    let stranger = write(dir.path(), "stranger.pem", &Authority::new().pem);
    let untrusted = connect(&nats, json!({ "tls": { "ca_file": stranger } }));
    let error = refusal(&untrusted, record("a.b", "1")).await;
    assert!(matches!(error, PublishError::Unavailable(_)), "{error:?}");
    assert!(untrusted.probe(std::time::Duration::from_secs(3)).await.is_err());
    assert!(
        connect(&nats, json!({ "tls": { "ca_file": ca } })).probe(std::time::Duration::from_secs(3)).await.is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_may_not_do_is_denied_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let nats = server(
        dir.path(),
        "authorization { users: [
           { user: root, password: pw }
           { user: gw, password: pw, permissions: {
               publish: [\"orders.>\", \"$JS.API.>\"], subscribe: [\"orders.>\", \"_GW.>\"] } }
         ] }\n",
    );
    let root = connect(&nats, json!({ "user": "root", "password": "pw", "jetstream": true }));
    until(&root, State::Up).await;
    // Core: only its own subjects, and not even an inbox.
    let core = connect(&nats, json!({ "user": "gw", "password": "pw" }));
    let mut reader = read(&core, "orders.*", Start::Live).await;
    core.publish(record("orders.a", "1")).await.unwrap();
    assert_eq!(reader.text().await, "1");
    let mut secrets = crate::kit::begin(&core, "secrets.*", Start::Live, 8);
    let denied = crate::kit::within("it is answered", secrets.subscription.ready()).await;
    assert!(matches!(&denied, Err(SubscribeError::Denied(why)) if why.contains("secrets.*")), "{denied:?}");
    // JetStream: the default inbox is denied, and the health says what to do; with an inbox of its own it works.
    let settings = json!({ "user": "gw", "password": "pw", "jetstream": true });
    let without = connect(&nats, settings.clone());
    let mut health = without.health();
    let told = crate::kit::within("the reason is told", health.wait_for(|h| h.reason.contains("inbox_prefix"))).await;
    assert_eq!(told.unwrap().state, State::Degraded);
    let mut settings = settings;
    settings["inbox_prefix"] = json!("_GW");
    let with = connect(&nats, settings);
    until(&with, State::Up).await;
    let error = refusal(&with, record("secrets.a", "1")).await;
    assert!(matches!(&error, PublishError::Denied(why) if why.contains("secrets.a")), "{error:?}");
    let error = refusal(&with, record("orders.a", "1")).await;
    assert!(matches!(error, PublishError::TopicUnknown(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_make_consumers_is_told_so_before_the_subscription_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let nats = server(
        dir.path(),
        "no_auth_user: root
         authorization { users: [
           { user: root, password: pw }
           { user: gw, password: pw, permissions: { publish: { deny: [\"$JS.API.CONSUMER.CREATE.>\"] } } }
         ] }\n",
    );
    let stream = json!({ "name": "ORDERS", "subjects": ["orders.*"], "storage": "memory" });
    aside(|| gateway_tests::nats::Nats::connect(&nats.url()).jetstream("STREAM.CREATE.ORDERS", &stream));
    let connector = connect(&nats, json!({ "user": "gw", "password": "pw", "jetstream": true }));
    for start in [Start::Live, Start::Earliest] {
        let mut reader = crate::kit::begin(&connector, "orders.*", start, 8);
        let denied = crate::kit::within("it is answered", reader.subscription.ready()).await;
        assert!(matches!(&denied, Err(SubscribeError::Denied(why)) if why.contains("CONSUMER.CREATE")), "{denied:?}");
    }
}
