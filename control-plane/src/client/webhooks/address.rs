//! Which addresses a notification may be sent to, so that nobody can make the control plane call its
//! own surroundings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Most characters of a URL.
const URL_LENGTH_MAX: usize = 2_000;

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRules {
    /// Whether receivers may stand in private networks and on this machine, there also without TLS.
    pub allow_private: bool,
}

/// Every address of a receiver is in a network that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver's address is in a network that is not allowed")]
pub struct AddressRefused;

/// Where an address belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Anybody's.
    Public,
    /// This machine.
    Loopback,
    /// A network of one's own.
    Private,
    /// Never a receiver: link-local (where clouds keep their machines' credentials), multicast, reserved.
    Special,
}

impl AddressRules {
    /// Reads a receiver's URL.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence without its subject.
    pub fn check(self, text: &str) -> Result<Url, String> {
        if text.len() > URL_LENGTH_MAX {
            return Err(format!("must have at most {URL_LENGTH_MAX} characters"));
        }
        let url: Url = text.parse().map_err(|error| format!("must be a URL: {error}"))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.');
        let is_local_name = host == "localhost" || host.ends_with(".localhost");
        let reach = match host.parse::<IpAddr>() {
            Ok(address) => reach(address),
            Err(_) if is_local_name => Reach::Loopback,
            // Judged when it is resolved, each time anew.
            Err(_) => Reach::Public,
        };
        if !self.permits(reach) {
            return Err("must not name this machine, a private network or a special address".to_owned());
        }
        match url.scheme() {
            "https" => {}
            // Only with loopback allowed, and never over a network.
            "http" if reach == Reach::Loopback => {}
            _ => return Err("must start with https://".to_owned()),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("must hold neither a name, nor a password, nor a fragment".to_owned());
        }
        Ok(url)
    }

    fn permits(self, reach: Reach) -> bool {
        match reach {
            Reach::Public => true,
            Reach::Loopback | Reach::Private => self.allow_private,
            Reach::Special => false,
        }
    }
}

/// Finds a receiver's addresses at every connection, and leaves out those that are not allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver(pub(super) AddressRules);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| rules.permits(reach(address.ip()))).collect();
            if allowed.is_empty() {
                return Err(AddressRefused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

/// IANA's registry of special-purpose addresses (RFC 6890).
fn reach_v4(address: Ipv4Addr) -> Reach {
    let [first, second, third, _] = address.octets();
    if address.is_loopback() {
        return Reach::Loopback;
    }
    let is_shared = first == 100 && (64..128).contains(&second);
    if address.is_private() || is_shared {
        return Reach::Private;
    }
    let is_benchmarking = first == 198 && (second == 18 || second == 19);
    let is_protocol = (first, second, third) == (192, 0, 0);
    let is_special = first == 0
        || first >= 224
        || address.is_link_local()
        || address.is_documentation()
        || is_benchmarking
        || is_protocol;
    if is_special { Reach::Special } else { Reach::Public }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if address.is_loopback() {
        return Reach::Loopback;
    }
    if let Some(inner) = embedded_v4(address) {
        return reach_v4(inner);
    }
    let first = address.segments()[0];
    if first & 0xfe00 == 0xfc00 {
        return Reach::Private;
    }
    // Everything that is routed lies in 2000::/3; in it, 2001:db8::/32 is for documents.
    let is_document = first == 0x2001 && address.segments()[1] == 0x0db8;
    if first & 0xe000 == 0x2000 && !is_document { Reach::Public } else { Reach::Special }
}

/// The IPv4 address that an IPv6 address leads to: mapped, NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: AddressRules = AddressRules { allow_private: false };
    const OPEN: AddressRules = AddressRules { allow_private: true };

    #[test]
    fn only_public_receivers_over_tls_are_allowed_unless_private_ones_are() {
        for url in ["https://hooks.example.com/a?b=c", "https://8.8.8.8:8443/", "https://[2a00:1450::1]/"] {
            assert!(STRICT.check(url).is_ok() && OPEN.check(url).is_ok(), "{url}");
        }
        for url in [
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://100.64.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
            "https://[2002:a00:1::]/",
            "https://[fd00::1]/",
            "http://127.0.0.1:8080/",
            "http://[::1]:8080/",
        ] {
            assert!(STRICT.check(url).is_err(), "{url}");
            assert!(OPEN.check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_can_be_no_receiver_is_refused_whatever_is_allowed() {
        for url in [
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://198.18.0.1/",
            "https://192.0.2.1/",
            "https://[2001:db8::1]/",
            "https://[ff02::1]/",
            "http://hooks.example.com/",
            "http://10.0.0.1/",
            "ftp://hooks.example.com/",
            "file:///etc/passwd",
            "https://user@hooks.example.com/",
            "https://user:password@hooks.example.com/",
            "https://hooks.example.com/#a",
            "hooks.example.com",
            "",
        ] {
            assert!(OPEN.check(url).is_err(), "{url}");
        }
        assert!(OPEN.check(&format!("https://hooks.example.com/{}", "a".repeat(2_000))).is_err());
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_addresses_it_has() {
        let resolve = |rules| Resolver(rules).resolve("localhost".parse().unwrap());
        assert!(resolve(STRICT).await.err().unwrap().is::<AddressRefused>());
        assert!(resolve(OPEN).await.unwrap().next().unwrap().ip().is_loopback());
    }
}
