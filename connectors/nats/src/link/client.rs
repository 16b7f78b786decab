//! The client itself: how it connects, and another one when it ends.

use super::Link;
use crate::auth::Login;
use crate::config::Plan;
use async_nats::ConnectOptions;
use futures_util::StreamExt as _;
use rand::Rng as _;
use std::time::Duration;

/// A server that says nothing is given up after three pings without an answer: four times this.
const PING_EVERY: Duration = Duration::from_millis(1200);
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How many messages the client holds per subscription, until the subscription's task has its turn: one turn of the
/// client can bring very many small ones. More than JetStream is asked for at once, and more than publishes wait for an
/// answer, so that only core subscriptions can ever reach it.
const SUBSCRIPTION_CAPACITY: usize = 65_536;

/// Keeps a client alive until the link is closed.
pub(super) async fn supervise(link: Link, plan: Plan, name: String) {
    let mut generation = 0;
    let closed = link.0.closed.clone();
    while !closed.is_cancelled() {
        generation += 1;
        link.0.moment.send_modify(|m| (m.generation, m.connects) = (generation, 0));
        let end = tokio::select! {
            end = one_client(&link, &plan, &name, generation) => end,
            () = closed.cancelled() => break,
        };
        link.on_lost(generation, &end);
        link.0.moment.send_modify(|m| m.client = None);
        tracing::warn!(servers = link.0.servers, "{end}; making a new client");
        let pause = Duration::from_millis(rand::rng().random_range(100..300));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = closed.cancelled() => break,
        }
    }
    link.on_lost(generation, "the connector is closed");
    link.0.moment.send_modify(|m| m.client = None);
    link.0.health.down("closed");
}

/// Runs one client until it ends; says why.
async fn one_client(link: &Link, plan: &Plan, name: &str, generation: u64) -> String {
    let client = match options(plan, name, link.clone(), generation).connect(&plan.servers[..]).await {
        Ok(client) => client,
        Err(error) => return format!("the NATS client could not be made: {error}"),
    };
    let mut answers = match client.subscribe(link.0.inbox.wildcard()).await {
        Ok(answers) => answers,
        Err(error) => return format!("the NATS client ended: {error}"),
    };
    link.0.moment.send_modify(|m| m.client = Some(client));
    while let Some(answer) = answers.next().await {
        link.0.inbox.take(answer);
    }
    "the NATS client ended, perhaps at a message that it could not read".to_owned()
}

fn options(plan: &Plan, name: &str, link: Link, generation: u64) -> ConnectOptions {
    let login = plan.login.clone();
    let mut options = match login {
        Login::None => ConnectOptions::new(),
        login => ConnectOptions::with_auth_callback(move |nonce| login.clone().answer_server(nonce)),
    };
    options = options
        .name(name)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_EVERY)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .custom_inbox_prefix(&plan.inbox_prefix)
        .reconnect_delay_callback(pause)
        .event_callback(move |event| {
            link.on_event(generation, &event);
            std::future::ready(())
        })
        .require_tls(plan.require_tls);
    if let Some(tls) = &plan.tls {
        if let Some(path) = &tls.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
    }
    if plan.tls_first { options.tls_first() } else { options }
}

/// The pause before an attempt: none to speak of before the first, then growing, spread out so that many gateways do
/// not come at once.
fn pause(attempt: usize) -> Duration {
    let longest = match attempt {
        0 | 1 => Duration::from_millis(50),
        n => MAX_PAUSE.min(Duration::from_millis(50) * 2u32.saturating_pow(u32::try_from(n).unwrap_or(16).min(16))),
    };
    longest.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_second() {
        for attempt in 0..70 {
            let pause = pause(attempt);
            assert!(pause <= MAX_PAUSE && (attempt < 8 || pause >= MAX_PAUSE / 2), "{attempt}: {pause:?}");
        }
        assert!(pause(1) <= Duration::from_millis(50));
    }
}
