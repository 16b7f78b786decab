//! The life of the link: connect, serve, wait a little, again; until it is closed.

use crate::config::Plan;
use crate::connector::Shared;
use crate::inflow::Inflow;
use crate::live::{Live, Over};
use crate::reason;
use connector::Context;
use rand::Rng as _;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectProperties, Packet};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a connection may take to come about. A broker that stands still takes connections and answers none.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Waits between attempts: from the first, doubling, to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A connection that lasted so long was a good one: after it, waits begin anew.
const LASTED: Duration = Duration::from_secs(5);

/// Requests that may be handed to the event loop ahead of their being written.
pub(crate) const AHEAD: usize = 32;

/// Publishes under way, at most; fewer where the broker wants so. The event loop keeps a slot for each packet id.
const WINDOW: u16 = 1024;

pub(crate) struct Link {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inflow: Inflow,
    options: MqttOptions,
    /// Nothing was reached yet since the start.
    new_run: bool,
    address: String,
    client_id: String,
    receive_maximum: u16,
}

/// Runs a link until it is closed; one that panics is said to be down and followed by a new one. Its session at the broker
/// is ended by that, records that it had sent are of unknown outcome, and subscriptions are made again.
pub(crate) async fn supervise<Run>(shared: &Shared, mut run: impl FnMut() -> Run)
where
    Run: Future<Output = ()> + Send + 'static,
{
    while let Err(end) = tokio::spawn(run()).await {
        let Ok(panic) = end.try_into_panic() else { break }; // the runtime is going down
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!("a fault in the MQTT connector ended its connection: {text}");
        shared.health.down(format!("a fault in the connector ended its connection, it begins anew: {text}"));
        tokio::select! {
            () = tokio::time::sleep(LAST_WAIT) => {}
            () = shared.nothing_to_wait_for() => break,
        }
    }
    shared.line.close();
    shared.line.clear("the connector is closed");
    shared.table.lock().close();
    shared.health.down("the connector is closed");
}

impl Link {
    pub(crate) fn new(plan: &Plan, context: &Context, shared: Arc<Shared>) -> Link {
        let client_id = plan.client_id(context);
        Link {
            inflow: Inflow::new(plan.receive_maximum, Arc::clone(&shared.work)),
            shared,
            options: options(plan, &client_id),
            new_run: true,
            address: plan.address(),
            client_id,
            receive_maximum: plan.receive_maximum,
        }
    }

    /// One like it that has done nothing yet.
    pub(crate) fn anew(&self) -> Link {
        Link {
            shared: Arc::clone(&self.shared),
            inflow: Inflow::new(self.receive_maximum, Arc::clone(&self.shared.work)),
            options: self.options.clone(),
            new_run: true,
            address: self.address.clone(),
            client_id: self.client_id.clone(),
            receive_maximum: self.receive_maximum,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let begun = Instant::now();
            let Err(why) = self.connect_and_serve().await else { break };
            if begun.elapsed() >= LASTED {
                wait = FIRST_WAIT;
            }
            let news = self.shared.health.subscribe().borrow().reason != why;
            if news {
                tracing::warn!(why, "no connection to {}", self.address);
            }
            self.shared.health.down(why);
            let jittered = wait.mul_f64(rand::rng().random_range(0.5..=1.0));
            wait = (wait * 2).min(LAST_WAIT);
            tokio::select! {
                () = tokio::time::sleep(jittered) => {}
                () = self.shared.nothing_to_wait_for() => break,
            }
        }
    }

    /// `Ok` when the connector was closed, else why the connection ended or did not come about.
    async fn connect_and_serve(&mut self) -> Result<(), String> {
        let (client, event_loop, connected) = tokio::select! {
            connected = self.connect() => connected?,
            () = self.shared.nothing_to_wait_for() => return Ok(()),
        };
        self.new_run = false;
        *self.shared.broker.lock() = describe(&self.address, &self.client_id, &connected);
        let mut live = Live::new(self, client, event_loop, &connected);
        let over = live.serve().await;
        live.give_back();
        match over {
            Over::Closed => Ok(()),
            Over::Silent => Err(format!("{} does not answer", self.address)),
            Over::Lost(error) => Err(reason::of_connection(&error, &self.address, &self.client_id)),
        }
    }

    /// A session that the broker still has at our start is of an earlier run that ended without a word. What it holds
    /// was kept for subscriptions that are no more, and its filters, which nobody knows, would go on for ever: so that one
    /// session is ended by a clean start. From then on the session is ours, and is resumed.
    async fn connect(&self) -> Result<(AsyncClient, EventLoop, ConnAck), String> {
        let resumed = self.attempt(false).await?;
        if !(self.new_run && resumed.2.session_present) {
            return Ok(resumed);
        }
        tracing::info!("ending the session that an earlier run left at {}", self.address);
        drop(resumed);
        self.attempt(true).await
    }

    async fn attempt(&self, clean_start: bool) -> Result<(AsyncClient, EventLoop, ConnAck), String> {
        let mut options = self.options.clone();
        options.set_clean_start(clean_start);
        let (client, mut event_loop) = AsyncClient::new(options, AHEAD);
        let first = tokio::time::timeout(CONNECT_WITHIN, Box::pin(event_loop.poll())).await;
        match first {
            Ok(Ok(Event::Incoming(Packet::ConnAck(connected)))) => Ok((client, event_loop, connected)),
            Ok(Ok(other)) => Err(format!("{} did not begin as MQTT 5 does: {other:?}", self.address)),
            Ok(Err(error)) => Err(reason::of_connection(&error, &self.address, &self.client_id)),
            Err(_) => Err(format!("{} did not answer within {CONNECT_WITHIN:?}", self.address)),
        }
    }
}

fn options(plan: &Plan, client_id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, plan.host.as_str(), plan.port);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some(tls) = &plan.tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(tls))));
    }
    if let Some((user, password)) = &plan.login {
        options.set_credentials(user.as_str(), password.expose());
    }
    options
        .set_keep_alive(plan.keep_alive)
        .set_manual_acks(true)
        .set_outgoing_inflight_upper_limit(WINDOW)
        // The timeout is kept outside, by the same clock as the rest.
        .set_connection_timeout(CONNECT_WITHIN.as_secs() * 2);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(plan.session_expiry);
    properties.receive_maximum = Some(plan.receive_maximum);
    properties.max_packet_size = Some(plan.max_packet_size);
    // No topic aliases: absent means that the broker may use none.
    options.set_connect_properties(properties);
    options
}

/// What a broker says of itself, for people.
fn describe(address: &str, client_id: &str, connected: &ConnAck) -> String {
    let limits = Limits::of(connected);
    let size = limits.max_packet.map_or_else(String::new, |bytes| format!(", packets up to {bytes} bytes"));
    let ids = if limits.has_ids { "" } else { ", no subscription identifiers" };
    format!(
        "{address}: MQTT 5, client id {client_id}, {} unacknowledged publishes at most{size}{ids}",
        limits.receive_maximum
    )
}

/// What the broker wants respected.
pub(crate) struct Limits {
    /// Unacknowledged publishes; also the largest packet id that the event loop gives out.
    pub(crate) receive_maximum: u16,
    pub(crate) max_packet: Option<u32>,
    /// It has subscription identifiers.
    pub(crate) has_ids: bool,
}

impl Limits {
    pub(crate) fn of(connected: &ConnAck) -> Limits {
        let said = connected.properties.as_ref();
        Limits {
            receive_maximum: said.and_then(|p| p.receive_max).unwrap_or(u16::MAX).min(WINDOW),
            max_packet: said.and_then(|p| p.max_packet_size),
            has_ids: said.and_then(|p| p.subscription_identifiers_available) != Some(0),
        }
    }
}
