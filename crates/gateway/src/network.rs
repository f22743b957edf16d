//! A network in CIDR notation, and whether an address is in it; for trusted proxies. Pure.

use std::net::IpAddr;
use std::str::FromStr;

/// A network: `10.0.0.0/8`, `fd00::/8`, or a single address.
///
/// IPv4 addresses mapped into IPv6 (`::ffff:10.0.0.1`) count as IPv4, on both sides.
///
/// ```
/// let network: gateway::Network = "10.0.0.0/8".parse().unwrap();
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!(!network.contains("11.0.0.1".parse().unwrap()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

/// The text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address, or an address and a prefix length such as 10.0.0.0/8")]
pub struct NetworkError;

impl Network {
    /// Whether `address` is in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = u32::from(ours) ^ u32::from(theirs);
                differing.leading_zeros() >= self.prefix_bits
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = u128::from(ours) ^ u128::from(theirs);
                differing.leading_zeros() >= self.prefix_bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let written: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let address = written.to_canonical();
        let widest = if written.is_ipv4() { 32 } else { 128 };
        let prefix_bits: u32 = match prefix {
            Some(digits) if digits.bytes().all(|it| it.is_ascii_digit()) => {
                digits.parse().map_err(|_| NetworkError)?
            }
            Some(_) => return Err(NetworkError),
            None => widest,
        };
        if prefix_bits > widest {
            return Err(NetworkError);
        }
        // A mapped IPv4 network keeps its meaning: the 96 bits of the mapping are implied.
        let unmapped = written.is_ipv6() && address.is_ipv4();
        let prefix_bits =
            if unmapped { prefix_bits.checked_sub(96).ok_or(NetworkError)? } else { prefix_bits };
        Ok(Self { address, prefix_bits })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn check(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_holds_its_own_addresses_only() {
        assert!(check("127.0.0.1", "127.0.0.1"));
        assert!(!check("127.0.0.1", "127.0.0.2"));
        assert!(check("127.0.0.0/8", "::ffff:127.9.9.9"));
        assert!(check("::ffff:10.0.0.0/104", "10.200.0.1"));
        assert!(check("0.0.0.0/0", "203.0.113.9"));
        assert!(!check("0.0.0.0/0", "2001:db8::1"));
        assert!(check("::1", "::1"));
        assert!(!check("fd00::/8", "fe80::1"));
    }

    #[test]
    fn nonsense_is_no_network() {
        for text in
            ["", "/", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "localhost", "::ffff:1.2.3.4/8"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_address_with_the_same_prefix_is_inside_and_one_with_another_is_not(
            base: u32, other: u32, prefix in 0_u32..=32,
        ) {
            let network: Network = format!("{}/{prefix}", Ipv4Addr::from(base)).parse().unwrap();
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            let address = IpAddr::V4(Ipv4Addr::from(other));
            prop_assert_eq!(network.contains(address), base & mask == other & mask);
        }

        #[test]
        fn the_same_holds_for_ipv6(base: u128, flip in 0_u32..128, prefix in 0_u32..=128) {
            prop_assume!(IpAddr::V6(Ipv6Addr::from(base)).to_canonical().is_ipv6());
            let network: Network = format!("{}/{prefix}", Ipv6Addr::from(base)).parse().unwrap();
            let other = Ipv6Addr::from(base ^ (1_u128 << (127 - flip)));
            prop_assume!(IpAddr::V6(other).to_canonical().is_ipv6());
            prop_assert_eq!(network.contains(IpAddr::V6(other)), flip >= prefix);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _parsed: Result<Network, _> = text.parse();
        }
    }
}
