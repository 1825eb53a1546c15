//! IP networks, for the operator `cidr`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network as `address/bits`, IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    first: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `10.0.0.0/8` or `2001:db8::/32`; nothing when it is not one, or when the address has
    /// bits beyond the prefix: `10.1.2.3/8` is a slip that nobody should have to guess about.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (first, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
        // An IPv4 address in IPv6 clothes is compared as IPv4, so no network is written that way.
        if bits > width(first) || first.to_canonical() != first {
            return None;
        }
        (number(first) & !mask(first, bits) == 0).then_some(Self { first, bits })
    }

    /// Its first address, and the first after its last one if there is one. An IPv4 address also as IPv6
    /// writes it.
    pub(crate) fn edges(&self) -> Vec<IpAddr> {
        let last = number(self.first) | !mask(self.first, self.bits);
        let mut edges = vec![self.first];
        match self.first {
            IpAddr::V4(first) => {
                let next =
                    u32::try_from(last & u128::from(u32::MAX)).ok().and_then(|last| last.checked_add(1));
                let next = next.map(Ipv4Addr::from_bits);
                edges.extend(next.map(IpAddr::V4));
                edges.extend(
                    [Some(first), next].into_iter().flatten().map(|edge| IpAddr::V6(edge.to_ipv6_mapped())),
                );
            }
            IpAddr::V6(_) => {
                edges.extend(last.checked_add(1).map(|next| IpAddr::V6(Ipv6Addr::from_bits(next))));
            }
        }
        edges
    }

    /// Whether the address lies in the network; nothing when the text is no address.
    pub(crate) fn contains(&self, text: &str) -> Option<bool> {
        let address = text.parse::<IpAddr>().ok()?.to_canonical();
        let same_family = address.is_ipv4() == self.first.is_ipv4();
        Some(same_family && number(address) & mask(self.first, self.bits) == number(self.first))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(address: IpAddr, bits: u32) -> u128 {
    let host_bits = width(address) - bits;
    u128::MAX.checked_shl(host_bits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", Some(true)),
            ("10.0.0.0/8", "11.0.0.1", Some(false)),
            ("10.0.0.0/8", "::ffff:10.0.0.1", Some(true)),
            ("0.0.0.0/0", "255.255.255.255", Some(true)),
            ("0.0.0.0/0", "2001:db8::1", Some(false)),
            ("192.0.2.7/32", "192.0.2.7", Some(true)),
            ("192.0.2.7/32", "192.0.2.6", Some(false)),
            ("2001:db8::/32", "2001:db8:ffff::1", Some(true)),
            ("2001:db8::/32", "2001:db9::1", Some(false)),
            ("::/0", "::1", Some(true)),
            ("::/0", "10.0.0.1", Some(false)),
            ("10.0.0.0/8", "10.0.0", None),
            ("10.0.0.0/8", "10.0.0.01", None),
            ("10.0.0.0/8", "host", None),
        ] {
            assert_eq!(
                Network::parse(network).unwrap().contains(address),
                expected,
                "{address} in {network}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "::1/64",
            "::ffff:10.0.0.0/104",
            "x/8",
            "::/129",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
