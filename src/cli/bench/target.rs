//! The cluster that is measured: its servers, its topics.

use super::failed;
use super::wire::{self, Wire};
use crate::cli::exit::Failure;
use crate::client::{Client, Request, Server};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Making a topic with thousands of partitions takes its time.
const SETUP_TIME_MAX: Duration = Duration::from_secs(120);

pub struct Target {
    servers: Vec<Server>,
}

/// Which node a connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// One after the other, whoever leads
    Any,
    /// The leader of the connection's partition
    Leader,
}

/// Where one connection goes, and which partitions it uses in turn.
#[derive(Clone, Debug)]
pub struct Route {
    pub authority: String,
    pub partitions: Vec<u32>,
}

impl Target {
    pub fn new(servers: &[Server]) -> Target {
        Target { servers: servers.to_vec() }
    }

    pub fn client(&self) -> Client {
        Client::new(self.servers.clone())
    }

    /// A server by turns.
    pub fn authority(&self, position: usize) -> String {
        self.servers[position % self.servers.len()].authority()
    }

    /// Makes a topic with a name of its own.
    pub async fn create_topic(&self, partitions: u32) -> Result<String, Failure> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("bench-{}", &unique[..8]);
        let body = json!({"name": name, "partitions": partitions});
        let request = Request::new(Method::POST, "/v1/topics").json(&body).within(SETUP_TIME_MAX);
        self.client().fetch(request).await?;
        Ok(name)
    }

    pub async fn delete_topic(&self, name: &str) -> Result<(), Failure> {
        let request = Request::new(Method::DELETE, format!("/v1/topics/{name}")).within(SETUP_TIME_MAX);
        self.client().fetch(request).await?;
        Ok(())
    }

    /// The answer to a `GET`, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        let body = self.client().fetch(Request::new(Method::GET, path)).await?;
        crate::cli::servers::parsed(&body)
    }

    /// Leaders by partition; `None` where there is none now.
    pub async fn leaders(&self, topic: &str) -> Result<Vec<Option<u64>>, Failure> {
        let topic = self.get(&format!("/v1/topics/{topic}")).await?;
        let partitions = topic["partitions"].as_array().cloned().unwrap_or_default();
        Ok(partitions.iter().map(|partition| partition["leader"].as_u64()).collect())
    }

    /// Lays out `connections` over servers and partitions.
    pub async fn routes(
        &self,
        topic: &str,
        partitions: u32,
        connections: usize,
        via: Via,
    ) -> Result<Vec<Route>, Failure> {
        let all: Vec<u32> = (0..partitions).collect();
        if via == Via::Any {
            let route = |number: usize| {
                let mut turned = all.clone();
                turned.rotate_left(number % all.len());
                Route { authority: self.authority(number), partitions: turned }
            };
            return Ok((0..connections).map(route).collect());
        }
        let (leaders, addresses) = (self.leaders(topic).await?, self.addresses().await?);
        let route = |number: usize| {
            let partition = all[number % all.len()];
            let leader = leaders.get(partition as usize).copied().flatten();
            let authority = leader.and_then(|id| addresses.get(&id)).cloned();
            Route { authority: authority.unwrap_or_else(|| self.authority(number)), partitions: vec![partition] }
        };
        Ok((0..connections).map(route).collect())
    }

    /// HTTP addresses by node.
    pub async fn addresses(&self) -> Result<BTreeMap<u64, String>, Failure> {
        let answer = self.get("/v1/nodes").await?;
        let nodes = answer.get("nodes").unwrap_or(&answer).as_array().cloned().unwrap_or_default();
        let address = |node: &Value| Some((node["id"].as_u64()?, crate::cli::cluster::address_of(node, "http")?));
        Ok(nodes.iter().filter_map(address).collect())
    }

    /// Writes one record, and waits until it is acknowledged.
    pub async fn write_one(&self, topic: &str, partition: u32) -> Result<(), Failure> {
        let mut wire = Wire::connect(&self.authority(0)).await.map_err(|error| failed("connecting", &error))?;
        let target = format!("/v1/topics/{topic}/partitions/{partition}/records");
        let request = wire::request("POST", "balsa", &target, &[("Content-Type", "application/octet-stream")], b"x");
        let answer = wire.exchange(&request, false).await.map_err(|error| failed("writing", &error))?;
        if answer.head.is_ok() { Ok(()) } else { Err(refusal(&answer)) }
    }
}

/// An answer that is a problem, as an error.
pub fn refusal(answer: &wire::Answer) -> Failure {
    Failure::failed(problem_text(answer.head.status, &answer.body))
}

/// A problem in a few words, the same for all of its kind, for counting.
pub fn problem_text(status: u16, body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("no problem document");
    format!("{status}: {text}")
}
