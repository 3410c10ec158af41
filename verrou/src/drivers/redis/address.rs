//! Where a server is: URLs, and clients of the application.

use redis::{Client, IntoConnectionInfo as _, ProtocolVersion};

use super::connections::nodelay;
use super::failure::{failure, refused};
use crate::error::{ConnectKind, Error};

/// Reads a URL, and nothing in it that would be ignored: a mistyped option for TLS would be none.
pub(super) fn client_at(url: &str) -> Result<Client, Error> {
    let bad = |text: &str| refused(ConnectKind::Url, failure(text));
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| bad("a url begins with `redis://`, `rediss://` or `redis+unix://`"))?;
    let tls = cfg!(any(feature = "tls-rustls", feature = "tls-native-tls"));
    let known: &[&str] = match scheme {
        "rediss" | "valkeys" if !tls => {
            return Err(bad(
                "TLS needs the feature `tls-rustls` or `tls-native-tls`",
            ));
        }
        "redis" | "rediss" | "valkey" | "valkeys" => &["protocol"],
        "redis+unix" | "valkey+unix" | "unix" => &["db", "user", "pass", "protocol"],
        _ => return Err(bad("the scheme is not one of Redis")),
    };
    // A `?` or `#` of a password is written `%XX`, so the first one begins the options.
    let rest = rest.split('#').next().unwrap_or_default();
    let options = rest.split_once('?').map_or("", |(_, options)| options);
    for option in options.split('&').filter(|option| !option.is_empty()) {
        if !known.contains(&option.split('=').next().unwrap_or_default()) {
            return Err(bad("the url has an option that is not known"));
        }
    }
    let info = url.into_connection_info();
    let info = info.map_err(|_| bad("the url cannot be read"))?;
    Client::open(info).map_err(|_| bad("the url cannot be used"))
}

/// A client of ours: small requests leave at once.
pub(super) fn tuned(client: &Client, protocol: Option<ProtocolVersion>) -> Result<Client, Error> {
    let cannot = |_| {
        refused(
            ConnectKind::Url,
            failure("the client's address cannot be used"),
        )
    };
    let client = nodelay(client).map_err(cannot)?;
    let Some(protocol) = protocol else {
        return Ok(client);
    };
    let info = client.get_connection_info();
    let redis = info.redis_settings().clone().set_protocol(protocol);
    Client::open(info.clone().set_redis_settings(redis)).map_err(cannot)
}
