//! Whom a request comes from, as far as addresses tell.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// Where proxies write whom they were called by, each at the end.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Bits of an IPv6 address that its holder does not choose (RFC 6177: sites get whole networks).
const IPV6_BITS: u32 = 64;

/// The proxies whose word is taken for whom they were called by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Reads addresses and networks such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// What is neither, in words.
    pub fn read(items: &[String]) -> Result<Self, String> {
        let read = |item: &String| {
            let network = item.parse::<IpNet>().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| format!("`{item}` is neither an address nor a network such as 10.0.0.0/8"))
        };
        items.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is one of them.
    pub fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whom a request comes from: the peer; behind trusted proxies the last one in `X-Forwarded-For` that is none of
    /// them. What stands before that, callers can have written themselves.
    pub fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut caller = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        while self.include(caller)
            && let Some(hop) = hops.next().and_then(read_hop)
        {
            caller = hop;
        }
        caller
    }
}

/// An address, with or without a port.
fn read_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(address.to_canonical())
}

/// What is counted as one caller: an IPv4 address, or the /64 that an IPv6 address is chosen from.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_BITS))).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_trusted_proxies_say_whom_a_request_comes_from() {
        let proxies = Proxies::read(&["10.0.0.0/8".to_owned(), "2001:db8::1".to_owned()]).unwrap();
        for (peer, lines, expected) in [
            ("192.0.2.1", &[][..], "192.0.2.1"),
            // Nobody else is believed.
            ("192.0.2.1", &["198.51.100.1"], "192.0.2.1"),
            ("::ffff:192.0.2.1", &["198.51.100.1"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("2001:db8::1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::2]:4711"], "2001:db8::2"),
            // A chain of proxies, over one line or several.
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1", "10.0.0.2, 10.0.0.3"], "198.51.100.1"),
            // What the caller wrote itself stands before what the proxy saw.
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.9, 198.51.100.1"], "198.51.100.1"),
            // What cannot be read ends it.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            }
            assert_eq!(proxies.caller(address(peer), &headers), address(expected), "{peer} {lines:?}");
        }
        for wrong in ["10.0.0.0/33", "proxy", "10.0.0", ""] {
            assert!(Proxies::read(&[wrong.to_owned()]).unwrap_err().contains(wrong));
        }
    }

    #[test]
    fn an_ipv6_address_counts_as_the_network_it_is_chosen_from() {
        for (one, other, is_same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(
                neighbourhood(address(one)) == neighbourhood(address(other)),
                is_same,
                "{one} {other}"
            );
        }
    }
}
