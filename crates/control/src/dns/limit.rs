//! Who may ask, and how often.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Most clients whose rates are known at once.
const CLIENTS_MAX: usize = 4_096;
/// How often a full table may be searched for clients that have gone quiet.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// A range of addresses, as in `198.18.0.0/15`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text is no network, or a prefix is longer than its address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network: it has to be an address, a slash and the length of its prefix")]
pub struct NetworkError(String);

impl Network {
    /// The IPv4 loopback network.
    pub const LOOPBACK_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 };
    /// The IPv6 loopback address.
    pub const LOOPBACK_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 };
    /// The alias network of tasks.
    pub const ALIASES: Self = Self { address: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0)), prefix: 15 };

    /// The addresses that share `address`'s first `prefix` bits.
    ///
    /// # Errors
    ///
    /// `prefix` is more than 32 for IPv4, 128 for IPv6.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix > most {
            return Err(NetworkError(format!("{address}/{prefix}")));
        }
        Ok(Self { address, prefix })
    }

    /// Whether `address` is in it. An IPv4 address in IPv6's clothes
    /// (`::ffff:127.0.0.1`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let different = ours.to_bits() ^ theirs.to_bits();
                different.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let different = ours.to_bits() ^ theirs.to_bits();
                different.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.chars().take(80).collect());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        Self::new(address, prefix.parse().map_err(|_| wrong())?)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// A token bucket for each client address.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    rate: f64,
    burst: f64,
    table: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    clients: HashMap<IpAddr, Bucket>,
    /// Shared by those for whom the table has no room: a flood of forged
    /// addresses cannot push out the bucket of a client that asks too much.
    rest: Bucket,
    swept: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn tokens(&self, now: Instant, rate: f64, burst: f64) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + passed * rate).min(burst)
    }

    fn take(&mut self, now: Instant, rate: f64, burst: f64) -> bool {
        self.tokens = self.tokens(now, rate, burst);
        self.at = self.at.max(now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

impl RateLimiter {
    /// `rate` queries a second for each client, and `burst` at once.
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        let rest = Bucket { tokens: burst, at: now };
        let table = Buckets { clients: HashMap::new(), rest, swept: now };
        Self { rate: f64::from(rate), burst, table: Mutex::new(table) }
    }

    /// Whether one more query of `client` is within its rate.
    pub(crate) fn admit(&self, client: IpAddr, now: Instant) -> bool {
        let (rate, burst) = (self.rate, self.burst);
        let client = client_of(client);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = table.clients.get_mut(&client) {
            return bucket.take(now, rate, burst);
        }
        if table.clients.len() >= CLIENTS_MAX && now.saturating_duration_since(table.swept) >= SWEEP_INTERVAL
        {
            table.swept = now;
            // A full bucket says no more than none.
            table.clients.retain(|_, bucket| bucket.tokens(now, rate, burst) < burst);
        }
        if table.clients.len() >= CLIENTS_MAX {
            return table.rest.take(now, rate, burst);
        }
        let bucket = table.clients.entry(client).or_insert(Bucket { tokens: burst, at: now });
        bucket.take(now, rate, burst)
    }
}

/// Whose bucket pays: whoever has one IPv6 address has the /64 around it.
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_contain_what_shares_their_prefix() {
        let network: Network = "198.18.0.0/15".parse().unwrap();
        assert_eq!(network, Network::ALIASES);
        assert!(network.contains(ip("198.19.255.255")) && network.contains(ip("::ffff:198.18.0.1")));
        assert!(!network.contains(ip("198.20.0.0")) && !network.contains(ip("::1")));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains(ip("255.255.255.255")));
        assert!("::/0".parse::<Network>().unwrap().contains(ip("ffff::1")));
        assert!(Network::LOOPBACK_V6.contains(ip("::1")) && !Network::LOOPBACK_V6.contains(ip("::2")));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_client_has_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let limiter = RateLimiter::new(10, 5, start);
        let admitted = |client, now| (0..100).filter(|_| limiter.admit(ip(client), now)).count();
        assert_eq!(admitted("10.0.0.1", start), 5);
        assert_eq!(admitted("10.0.0.2", start), 5, "another has its own");
        assert_eq!(admitted("10.0.0.1", start + Duration::from_millis(300)), 3);
        assert_eq!(admitted("10.0.0.1", start + Duration::from_secs(60)), 5, "no more than the burst");
        assert_eq!(admitted("10.0.0.1", start), 0, "time does not go back");
        assert_eq!(admitted("2001:db8::1", start), 5);
        assert_eq!(admitted("2001:db8::2", start), 0, "the same /64");
    }

    #[test]
    fn a_flood_of_addresses_neither_grows_the_table_nor_frees_anyone() {
        let start = Instant::now();
        let limiter = RateLimiter::new(1, 2, start);
        let loud = ip("192.0.2.1");
        assert_eq!((0..10).filter(|_| limiter.admit(loud, start)).count(), 2);
        let flood = |from: u32, now| {
            (from..from + 10_000).filter(|n| limiter.admit(IpAddr::V4(Ipv4Addr::from_bits(*n)), now)).count()
        };
        assert_eq!(flood(0x0a00_0000, start), CLIENTS_MAX - 1 + 2);
        assert_eq!(limiter.table.lock().unwrap().clients.len(), CLIENTS_MAX);
        assert!(!limiter.admit(loud, start));
        // Once they are quiet their places are free.
        let later = start + Duration::from_secs(10);
        assert!(flood(0x0b00_0000, later) >= CLIENTS_MAX - 1);
        assert!(limiter.table.lock().unwrap().clients.len() <= CLIENTS_MAX);
    }
}
