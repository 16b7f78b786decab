//! The pairs of servers, each with the same options.

use gateway_tests::gateway::Gateway;
use gateway_tests::lab::{free_ports, tests_dir};
use std::process::Command;

/// A pair's name, CometD's options, the gateway's config.
const PAIRS: [(&str, &str, &str); 9] = [
    ("plain", "maxMessageSize=65536", "bayeux: { extensions: [], max_message_size: 64KiB }"),
    ("short", "timeout=1000 maxInterval=2000", "bayeux: { extensions: [], timeout: 1s, max_interval: 2s }"),
    (
        "open",
        "interval=300 maxSessionsPerBrowser=2 trustClientSession=true",
        "bayeux: { extensions: [], interval: 300ms, max_sessions_per_browser: 2, trust_client_session: true }",
    ),
    (
        "options",
        "timeout=4000 long-polling.json.timeout=2000 ws.timeout=3000 long-polling.interval=100 ws.maxInterval=7000 \
         metaConnectDeliverOnly=true handshakeReconnect=true allowMessageDeliveryDuringHandshake=true ext=ack \
         maxProcessing=5000 validateMessageFields=false",
        "bayeux: { extensions: [ack], timeout: 4s, meta_connect_deliver_only: true, handshake_reconnect: true, \
         allow_message_delivery_during_handshake: true, max_processing: 5s, validate_message_fields: false, \
         long_polling: { timeout: 2s, interval: 100ms }, callback_polling: { interval: 100ms }, \
         websocket: { timeout: 3s, max_interval: 7s } }",
    ),
    (
        "activity",
        "timeout=1000 ext=activity",
        "bayeux: { extensions: [activity], activity: { max_inactivity: 1s }, timeout: 1s }",
    ),
    ("ack", "ext=ack timeout=2000", "bayeux: { extensions: [ack], timeout: 2s }"),
    (
        "otherwise",
        "browserCookieName=CRUMB browserCookieDomain=example.com browserCookiePath=/cometd browserCookieMaxAge=3600 \
         browserCookieHttpOnly=false browserCookieSecure=true browserCookieSameSite=Lax browserCookiePartitioned=true \
         multiSessionInterval=0 duplicateMetaConnectHttpResponseCode=408 long-polling.jsonp.callbackParameter=call \
         long-polling.jsonp.callbackParameterMaxLength=5 ws.messagesPerFrame=3 ws.requireHandshakePerConnection=true",
        "bayeux:
  extensions: []
  browser_cookie:
    { name: CRUMB, domain: example.com, path: /cometd, max_age: 1h, http_only: false, secure: true, same_site: lax,
      partitioned: true }
  multi_session_interval: 0s
  duplicate_meta_connect_http_response_code: 408
  callback_polling: { callback_parameter: call, callback_parameter_max_length: 5 }
  websocket: { messages_per_frame: 3, require_handshake_per_connection: true }",
    ),
    (
        "crowded",
        "maxSessionsPerBrowser=0 long-polling.jsonp.maxSessionsPerBrowser=-1 multiSessionInterval=700 ws.messagesPerFrame=0 \
         browserCookieSameSite=None",
        "bayeux:
  extensions: []
  max_sessions_per_browser: 0
  callback_polling: { max_sessions_per_browser: -1 }
  multi_session_interval: 700ms
  browser_cookie: { same_site: none }
  websocket: { messages_per_frame: 0 }",
    ),
    ("idle", "ws.idleTimeout=2000", "bayeux: { extensions: [], websocket: { idle_timeout: 2s } }"),
];

/// CometD's server and the gateway.
pub struct Pair {
    pub name: &'static str,
    pub cometd: Cometd,
    pub gateway: Gateway,
}

impl Pair {
    /// All pairs, up.
    pub fn all() -> Vec<Pair> {
        std::thread::scope(|scope| {
            let starting: Vec<_> = PAIRS
                .iter()
                .map(|&(name, options, config)| {
                    scope.spawn(move || Pair { name, cometd: Cometd::start(options), gateway: Gateway::start(config) })
                })
                .collect();
            starting.into_iter().map(|pair| pair.join().expect("both servers start")).collect()
        })
    }
}

/// CometD's server by `tests/peers/cometd/run`, on a port of its own; stopped when dropped.
pub struct Cometd {
    pub port: u16,
    options: &'static str,
    dir: tempfile::TempDir,
}

impl Cometd {
    fn start(options: &'static str) -> Cometd {
        let dir = tempfile::Builder::new().prefix("cometd-").tempdir().expect("a temporary folder");
        let cometd = Cometd { port: free_ports(1), options, dir };
        let output = cometd.command("start").output().expect("bash runs");
        assert!(output.status.success(), "CometD does not start: {}", String::from_utf8_lossy(&output.stderr));
        cometd
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(tests_dir().join("peers/cometd/run"));
        command.arg(verb).env("LAB_DIR", self.dir.path());
        command.env("COMETD_PORT", self.port.to_string()).env("COMETD_OPTIONS", self.options);
        command
    }
}

impl Drop for Cometd {
    fn drop(&mut self) {
        let _ = self.command("stop").output();
    }
}
