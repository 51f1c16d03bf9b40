//! From a host's name to a connection: one look-up, every address of it judged, and a connection to one of those.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::read_system_conf,
};
use hyper::StatusCode;
use seatrial_address::{Network, refusal};
use tokio::{net::TcpStream, time::timeout};

use crate::{allow::Host, request::Refusal};

/// For the look-up, with all its tries.
const LOOK_UP: Duration = Duration::from_secs(10);
/// For a try of a look-up.
const ONE_QUERY: Duration = Duration::from_secs(3);
/// For a connection, however many addresses are tried.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses that are tried.
const TRIES: usize = 4;

/// Finds ways to hosts.
pub(crate) struct Router {
    resolver: TokioResolver,
    /// Networks that may be reached in spite of what they are.
    also: Vec<Network>,
}

impl Router {
    /// With one name server, or those of the system's file, which the engine writes for each container.
    pub(crate) fn new(server: Option<SocketAddr>, also: Vec<Network>) -> Result<Self, String> {
        let (config, mut options) = match server {
            None => {
                let (config, options) = read_system_conf().map_err(|error| format!("/etc/resolv.conf: {error}"))?;
                // No search list: a name is the whole name.
                let (_, _, servers) = config.into_parts();
                (ResolverConfig::from_parts(None, Vec::new(), servers), options)
            }
            Some(server) => {
                let mut one = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut one.connections {
                    connection.port = server.port();
                }
                (
                    ResolverConfig::from_parts(None, Vec::new(), vec![one]),
                    ResolverOpts::default(),
                )
            }
        };
        options.timeout = options.timeout.min(ONE_QUERY);
        options.attempts = options.attempts.min(2);
        // A name is looked up once for each request, and no answer is kept: what was judged is what is used.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|error| format!("the resolver: {error}"))?;
        Ok(Self { resolver, also })
    }

    /// A connection to a host.
    pub(crate) async fn connect(&self, host: &Host, port: u16) -> Result<TcpStream, Refusal> {
        let addresses = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.look_up(name).await?,
        };
        // One bad address spoils the answer: nobody honest mixes them, and which is taken would be luck.
        for address in &addresses {
            if let Some(what) = refusal(*address, &self.also) {
                return Err(Refusal::rule(format!("the host's address belongs to {what}")));
            }
        }
        let late = || {
            Refusal::trouble(
                StatusCode::GATEWAY_TIMEOUT,
                "the host did not take the connection in time",
            )
        };
        timeout(CONNECT, first(&addresses, port)).await.map_err(|_| late())?
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Refusal> {
        // The dot at the end: nothing is appended.
        let found = timeout(LOOK_UP, self.resolver.lookup_ip(format!("{name}."))).await;
        let addresses = match found {
            Ok(Ok(found)) => found.iter().collect(),
            Ok(Err(error)) if error.is_nx_domain() || error.is_no_records_found() => Vec::new(),
            Ok(Err(NetError::Timeout)) | Err(_) => {
                return Err(Refusal::trouble(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the name server did not answer in time",
                ));
            }
            Ok(Err(_)) => {
                return Err(Refusal::trouble(
                    StatusCode::BAD_GATEWAY,
                    "the name server has no answer",
                ));
            }
        };
        if addresses.is_empty() {
            return Err(Refusal::trouble(
                StatusCode::BAD_GATEWAY,
                "the host's name has no address",
            ));
        }
        Ok(addresses)
    }
}

/// The first that takes a connection.
async fn first(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Refusal> {
    // IPv4 first: most networks of containers have no other, and say so only after a while.
    let old = addresses.iter().filter(|address| address.is_ipv4());
    let new = addresses.iter().filter(|address| !address.is_ipv4());
    for address in old.chain(new).take(TRIES) {
        if let Ok(stream) = TcpStream::connect((*address, port)).await {
            // Small pieces of TLS should not wait for each other.
            let _ = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    Err(Refusal::trouble(
        StatusCode::BAD_GATEWAY,
        "the host takes no connection",
    ))
}
