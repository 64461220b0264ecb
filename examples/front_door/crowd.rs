//! How many clients there are, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use nobounce::Networks;

pub(crate) struct Crowd {
    most: usize,
    each: usize,
    /// Who connects for others: they count in all only.
    known: Networks,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    all: usize,
    from: HashMap<IpAddr, usize>,
}

/// A client that is inside until this is dropped.
pub(crate) struct Guest {
    crowd: Arc<Crowd>,
    network: Option<IpAddr>,
}

impl Crowd {
    pub(crate) fn new(most: usize, each: usize, known: Networks) -> Arc<Self> {
        Arc::new(Self { most, each, known, inside: Mutex::default() })
    }

    /// Lets a client in, or says what it is told.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Guest, &'static str> {
        let network = (!self.known.contains(address)).then(|| network(address));
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.all >= self.most {
            return Err("421 4.3.2 Too many connections, try again later\r\n");
        }
        if let Some(network) = network {
            let from = inside.from.entry(network).or_default();
            if *from >= self.each {
                return Err(
                    "421 4.7.0 Too many connections from your network, try again later\r\n",
                );
            }
            *from += 1;
        }
        inside.all += 1;
        Ok(Guest { crowd: self.clone(), network })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.crowd.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.all -= 1;
        if let Some(network) = self.network
            && let Some(from) = inside.from.get_mut(&network)
        {
            *from -= 1;
            if *from == 0 {
                inside.from.remove(&network);
            }
        }
    }
}

/// What belongs to one client: an IPv4 address, or an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}
