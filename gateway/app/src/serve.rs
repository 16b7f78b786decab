//! `serve`: builds the gateway, runs it, and takes it down in order.

use crate::admin::{self, AdminState, ConnectorEntry};
use crate::plan::{self, Planned};
use crate::settings::server_settings;
use crate::telemetry::{self, Telemetry};
use crate::{page, quickstart};
use bayeux_bridge::{
    Answering, Bridge, BridgeSettings, InFlightLimit, LoadLimits, ServiceSpec, UnmappedChannels, UnmappedServices,
};
use bayeux_server::hooks::AllowAll;
use bayeux_server::{Server, http, listener, tls};
use connector::{Connector, Context, HandlerContext};
use futures_util::future::join_all;
use gateway_config as config;
use gateway_config::Config;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long each step of closing may take.
const CLOSING: Duration = Duration::from_secs(2);
/// Of a drain, how long requests and publishes may still be answered before clients are told to leave.
const ANSWERING: Duration = Duration::from_secs(5);

/// The command.
pub async fn run(files: &[PathBuf]) -> ExitCode {
    let quick = files.is_empty();
    let sources = if quick { quickstart::sources() } else { plan::sources(files) };
    let planned = match plan::plan(&sources) {
        Ok(planned) => planned,
        Err(report) => {
            plan::print(&report);
            return ExitCode::FAILURE;
        }
    };
    plan::print(&planned.warnings);
    match serve(planned, quick).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The gateway's name, where the config gives none.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "gateway".into() } else { name.trim().to_owned() }
}

async fn serve(planned: Planned, quick: bool) -> Result<(), String> {
    let mut signals = Signals::new()?; // from here on a signal is heard, also as the first process of a container
    let settings = planned.loaded.config.clone();
    let telemetry = start_telemetry(&settings, &planned)?;
    match listener::raise_file_limit() {
        Ok(limit) => tracing::info!(limit, "open files allowed"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
    // Addresses first: a taken port is told before any broker is bothered.
    let tls = match &settings.server.tls {
        Some(files) => {
            Some(tls::server_config(&files.cert_file, &files.key_file).map_err(|e| format!("server.tls: {e}"))?)
        }
        None => None,
    };
    let socket = bind("server.listen", settings.server.listen)?;
    let admin_socket = bind("admin.listen", settings.admin.listen)?;
    let (address, admin_address) =
        (local(&socket, settings.server.listen), local(&admin_socket, settings.admin.listen));

    let node = settings.server.node.clone().unwrap_or_else(host_name);
    let connectors = connect(&planned, &node)?;
    let services = services(&planned, &connectors, &node)?;
    let bridge = Arc::new(Bridge::new(
        Arc::clone(&planned.table),
        connectors.clone(),
        services,
        bridge_settings(&settings, node),
        telemetry.observer(),
    ));
    let server = Server::new(server_settings(&settings), Arc::new(AllowAll), Arc::clone(&bridge) as _);
    bridge.start(server.clone());

    let draining = Arc::new(AtomicBool::new(false));
    let entries: Vec<_> = connectors
        .iter()
        .map(|(name, connector)| ConnectorEntry {
            name: name.clone(),
            kind: settings.connectors.get(name).map_or_else(String::new, |c| c.kind.clone()),
            required: settings.connectors.get(name).is_none_or(|c| c.required),
            connector: Arc::clone(connector),
        })
        .collect();
    telemetry.watch(&server, &bridge, &entries);
    let state = AdminState {
        connectors: entries,
        server: server.clone(),
        bridge: Arc::clone(&bridge),
        draining: Arc::clone(&draining),
        fail_ready_when_down: settings.admin.fail_ready_when_down,
        telemetry: Arc::clone(&telemetry),
    };
    let stop = CancellationToken::new();
    let admin_stop = CancellationToken::new();
    let admin_task =
        tokio::spawn(listener::serve(admin_socket, admin::router(state), listening(None, 1_024, &admin_stop)));
    let path = settings.server.path.trim_end_matches('/');
    let replay =
        http::file(server.clone(), &format!("{path}/replay.js"), "text/javascript; charset=utf-8", page::REPLAY);
    let mut router = http::router(server.clone(), path).merge(replay);
    if quick {
        if settings.server.path.trim_matches('/').is_empty() {
            return Err("server.path cannot be / here: the quickstart has its page there".into());
        }
        router = router.merge(page::router());
        tokio::spawn(quickstart::tick(Arc::clone(&bridge)));
        quickstart::greet(address, admin_address);
    }
    let listening = listener::Listening {
        tls,
        max_connections: settings.server.max_connections as usize,
        stats: Arc::clone(server.stats()),
        stop: stop.clone(),
    };
    let serving = tokio::spawn(listener::serve(socket, router, listening));
    tracing::info!(%address, admin = %admin_address, path = %settings.server.path, "serving");

    let signal = signals.next().await;
    tracing::info!(signal, "draining");
    draining.store(true, Ordering::Relaxed);
    let drained = drain(&server, &bridge, settings.server.shutdown_timeout.get());
    tokio::select! {
        () = drained => {}
        again = signals.next() => return Err(format!("a second {again} ended the drain")),
    }
    bridge.stop();
    stop.cancel();
    let _ = tokio::time::timeout(CLOSING, serving).await;
    join_all(connectors.values().map(|connector| connector.close(CLOSING))).await;
    admin_stop.cancel();
    let _ = tokio::time::timeout(CLOSING, admin_task).await;
    telemetry.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    listener::bind(address).map_err(|error| format!("cannot listen on {address} ({key}): {error}"))
}

fn local(socket: &TcpListener, configured: SocketAddr) -> SocketAddr {
    socket.local_addr().unwrap_or(configured)
}

fn listening(
    tls: Option<Arc<rustls::ServerConfig>>,
    max_connections: usize,
    stop: &CancellationToken,
) -> listener::Listening {
    listener::Listening { tls, max_connections, stats: Arc::default(), stop: stop.clone() }
}

fn start_telemetry(settings: &Config, planned: &Planned) -> Result<Arc<Telemetry>, String> {
    telemetry::init_logging(settings.telemetry.log.format, settings.telemetry.log.level.as_str());
    let services: Vec<_> = planned.services.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    Telemetry::start(settings.telemetry.otlp_endpoint.as_deref(), &planned.table, &services)
        .map(Arc::new)
        .map_err(|error| format!("telemetry: {error}"))
}

fn connect(planned: &Planned, node: &str) -> Result<BTreeMap<String, Arc<dyn Connector>>, String> {
    planned
        .loaded
        .connector_plans
        .iter()
        .map(|(name, plan)| {
            let context = Context { name: name.clone(), node: node.to_owned() };
            let connector = plan.connect(context).map_err(|error| format!("connector {name}: {error}"))?;
            Ok((name.clone(), connector))
        })
        .collect()
}

fn services(
    planned: &Planned,
    connectors: &BTreeMap<String, Arc<dyn Connector>>,
    node: &str,
) -> Result<Vec<ServiceSpec>, String> {
    let context = HandlerContext { connectors: connectors.clone(), node: node.to_owned() };
    let config = &planned.loaded.config.services;
    let plans = &planned.loaded.handler_plans;
    planned
        .services
        .iter()
        .zip(config.iter().zip(plans))
        .map(|(pattern, (service, plan))| {
            let answering = match plan {
                None => Answering::Echo,
                Some(plan) => Answering::Handler(
                    plan.connect(&context).map_err(|error| format!("service {}: {error}", service.channel))?,
                ),
            };
            Ok(ServiceSpec {
                channel: pattern.clone(),
                answering,
                timeout: service.timeout.get(),
                max_in_flight: service.max_in_flight,
            })
        })
        .collect()
}

fn bridge_settings(settings: &Config, node: String) -> BridgeSettings {
    BridgeSettings {
        unmapped_channels: match settings.bayeux.unmapped_channels {
            config::UnmappedChannels::Local => UnmappedChannels::Local,
            config::UnmappedChannels::Deny => UnmappedChannels::Deny,
        },
        unmapped_services: match settings.bayeux.unmapped_services {
            config::UnmappedServices::Acknowledge => UnmappedServices::Acknowledge,
            config::UnmappedServices::Refuse => UnmappedServices::Refuse,
        },
        node,
        load: LoadLimits {
            session: InFlightLimit {
                messages: settings.bayeux.publish.session_max_in_flight,
                bytes: settings.bayeux.publish.session_max_bytes.as_usize(),
            },
            connector: InFlightLimit {
                messages: settings.bayeux.publish.connector_max_in_flight,
                bytes: settings.bayeux.publish.connector_max_bytes.as_usize(),
            },
        },
        replay: settings.bayeux.extensions.contains(&config::Extension::Replay),
        subscribe_timeout: Duration::from_secs(5),
    }
}

/// The signals that end the gateway.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot wait for signals: {error}");
        let term = signal(SignalKind::terminate()).map_err(failed)?;
        Ok(Signals { term, int: signal(SignalKind::interrupt()).map_err(failed)? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Until every client has been told and everything in flight is answered, or the time is over. Says what moved.
async fn drain(server: &Server, bridge: &Bridge, timeout: Duration) {
    let begun = Instant::now();
    let deadline = begun + timeout.saturating_sub(CLOSING * 3).max(CLOSING);
    let (sessions, in_flight) = (server.session_count(), bridge.publishes_in_flight());
    // First what is asked is answered, over the connections it came by; then the clients are told to come back.
    server.refuse_handshakes();
    let answered = (begun + ANSWERING).min(deadline);
    let _ = tokio::time::timeout_at(answered.into(), bridge.idle()).await;
    server.drain();
    let told = async {
        bridge.idle().await;
        // Sockets close by themselves once their last reply is out; those that never had a session are not waited for.
        let patience = Instant::now() + CLOSING;
        while Instant::now() < patience && (server.stats().websockets.get() > 0 || server.stats().polls_held.get() > 0)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let complete = tokio::time::timeout_at(deadline.into(), told).await.is_ok();
    tracing::info!(
        complete,
        sessions_advised = sessions,
        publishes_in_flight = in_flight,
        publishes_unanswered = bridge.publishes_in_flight(),
        took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "drained"
    );
}
