//! A network of our own: one namespace for each node, and one, the hub, with the bridge between them, where the
//! clients run. Whatever is done to the links is done inside of the hub, so the machine's own network is neither
//! touched nor in the way (its packet filter does not see our bridge), two runs can use the same addresses, and
//! removing the namespaces removes it all.
//!
//! Links are cut by one nft table with a set of pairs (from, to), changed as a whole: all cuts of a fault come and go
//! at one moment. Without nft, a node gets a route that drops what it sends to another; those come one by one.
//! Clients reach every node always: what they then hear from a node that is cut off is what the run is about.

use crate::cluster::command;
use crate::cluster::created::{Created, Thing};
use anyhow::Context;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Packets lost on a lossy link, of a hundred.
pub const LOSS_PERCENT: u32 = 20;

/// What is wrong on the way from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    Cut,
    Lossy,
}

/// A direction: from node, to node.
pub type Way = (u16, u16);

pub struct Network {
    id: String,
    nodes: u16,
    with_nft: bool,
    /// What each fault wants, by its number: faults overlap, and end in any order.
    wanted: tokio::sync::Mutex<BTreeMap<u64, (Link, Vec<Way>)>>,
}

/// The name of the namespace of the bridge.
fn hub(id: &str) -> String {
    format!("bj-{id}-hub")
}

/// The name of a node's namespace.
pub fn of_node(id: &str, node: u16) -> String {
    format!("bj-{id}-n{node}")
}

/// A node's address.
pub fn address(node: u16) -> Ipv4Addr {
    let last = u8::try_from(node).expect("there are five nodes at most");
    Ipv4Addr::new(10, 199, 7, last)
}

impl Network {
    /// Makes the namespaces, the bridge and the links.
    pub async fn create(created: &Created, nodes: u16) -> anyhow::Result<Network> {
        let id = created.id().to_owned();
        let hub = hub(&id);
        created.note(&Thing::Namespace { name: hub.clone() })?;
        command::run("ip", &["netns", "add", &hub]).await?;
        // Where the bridge filter hands its packets to the machine's other filters, it does so by namespace: ours is empty.
        let bridge =
            "link set lo up\nlink add name hub type bridge\nlink set hub up\naddr add 10.199.7.254/24 dev hub\n";
        command::run_with_input("ip", &["-n", &hub, "-batch", "-"], bridge).await?;
        for node in 1..=nodes {
            let name = of_node(&id, node);
            created.note(&Thing::Namespace { name: name.clone() })?;
            command::run("ip", &["netns", "add", &name]).await?;
            let link = format!(
                "link add name n{node} type veth peer name eth0 netns {name}\nlink set n{node} master hub\nlink set n{node} up\n"
            );
            command::run_with_input("ip", &["-n", &hub, "-batch", "-"], &link).await?;
            let own = address(node);
            let inside = format!("link set lo up\naddr add {own}/24 dev eth0\nlink set eth0 up\n");
            command::run_with_input("ip", &["-n", &name, "-batch", "-"], &inside).await?;
        }
        Ok(Network { id, nodes, with_nft: command::found("nft").is_some(), wanted: tokio::sync::Mutex::default() })
    }

    /// Moves this thread into the hub, and so all threads and processes that it starts from now on.
    pub fn enter(&self) -> anyhow::Result<()> {
        let path = format!("/run/netns/{}", hub(&self.id));
        let file = std::fs::File::open(&path).context(path)?;
        let network = Some(rustix::thread::LinkNameSpaceType::Network);
        Ok(rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), network)?)
    }

    /// Loads the rules by which links are cut. To be called from within the hub.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        if !self.with_nft {
            return Ok(());
        }
        let table = format!(
            "table bridge jepsen {{\n set cut {{ type ipv4_addr . ipv4_addr; }}\n set lossy {{ type ipv4_addr . ipv4_addr; }}\n \
             chain links {{ type filter hook forward priority 0;\n ip saddr . ip daddr @cut drop\n \
             ip saddr . ip daddr @lossy numgen random mod 100 < {LOSS_PERCENT} drop\n }}\n}}\n"
        );
        command::run_with_input("nft", &["-f", "-"], &table).await.map(|_| ())
    }

    /// Makes links bad, until [`Network::heal`] of the same fault.
    pub async fn harm(&self, fault: u64, link: Link, ways: Vec<Way>) -> anyhow::Result<()> {
        let mut wanted = self.wanted.lock().await;
        wanted.insert(fault, (link, ways));
        self.apply(&wanted).await
    }

    /// Takes back what a fault did to links; others' stay.
    pub async fn heal(&self, fault: u64) -> anyhow::Result<()> {
        let mut wanted = self.wanted.lock().await;
        wanted.remove(&fault);
        self.apply(&wanted).await
    }

    async fn apply(&self, wanted: &BTreeMap<u64, (Link, Vec<Way>)>) -> anyhow::Result<()> {
        let of = |link: Link| {
            let mut ways: Vec<Way> =
                wanted.values().filter(|(of, _)| *of == link).flat_map(|(_, ways)| ways.iter().copied()).collect();
            ways.sort_unstable();
            ways.dedup();
            ways
        };
        if self.with_nft {
            let mut rules = String::new();
            for (set, ways) in [("cut", of(Link::Cut)), ("lossy", of(Link::Lossy))] {
                rules += &format!("flush set bridge jepsen {set}\n");
                if !ways.is_empty() {
                    let pairs: Vec<String> =
                        ways.iter().map(|(from, to)| format!("{} . {}", address(*from), address(*to))).collect();
                    rules += &format!("add element bridge jepsen {set} {{ {} }}\n", pairs.join(", "));
                }
            }
            return command::run_with_input("nft", &["-f", "-"], &rules).await.map(|_| ());
        }
        let cut = of(Link::Cut);
        for node in 1..=self.nodes {
            let mut routes = "route flush type blackhole\n".to_owned();
            for (_, to) in cut.iter().filter(|(from, _)| *from == node) {
                routes += &format!("route add blackhole {}/32\n", address(*to));
            }
            command::run_with_input("ip", &["-n", &of_node(&self.id, node), "-batch", "-"], &routes).await?;
        }
        Ok(())
    }

    /// Limits a node's link in both directions; nothing takes the limit away.
    pub async fn limit(&self, node: u16, rate: Option<&str>) -> anyhow::Result<()> {
        let outside = format!("n{node}");
        let name = of_node(&self.id, node);
        let ends = [(None, outside.as_str()), (Some(name.as_str()), "eth0")];
        for (namespace, device) in ends {
            let mut arguments: Vec<&str> = namespace.map_or(vec![], |name| vec!["-n", name]);
            match rate {
                Some(rate) => arguments.extend([
                    "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, "burst", "16kb", "latency", "300ms",
                ]),
                None => arguments.extend(["qdisc", "delete", "dev", device, "root"]),
            }
            command::run("tc", &arguments).await?;
        }
        Ok(())
    }

    /// Delays what a node sends, with jitter; nothing takes the delay away.
    pub async fn delay(&self, node: u16, delay: Option<(&str, &str)>) -> anyhow::Result<()> {
        let name = of_node(&self.id, node);
        let mut arguments = vec!["-n", &name, "qdisc"];
        match delay {
            Some((mean, jitter)) => {
                arguments.extend(["replace", "dev", "eth0", "root", "netem", "delay", mean, jitter])
            }
            None => arguments.extend(["delete", "dev", "eth0", "root"]),
        }
        command::run("tc", &arguments).await.map(|_| ())
    }
}
