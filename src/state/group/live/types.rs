//! What goes into a living group and what comes out of it: values, no more.

use super::super::error::GroupError;
use super::super::records::GroupMetadata;
use serde::{Deserialize, Serialize};

/// Where a group stands. The names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No members; perhaps offsets.
    Empty,
    /// Members are to join (again).
    PreparingRebalance,
    /// All have joined; the leader is to say who gets what.
    CompletingRebalance,
    Stable,
    /// Deleted.
    Dead,
}

impl Phase {
    /// The name that tools show.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::PreparingRebalance => "PreparingRebalance",
            Phase::CompletingRebalance => "CompletingRebalance",
            Phase::Stable => "Stable",
            Phase::Dead => "Dead",
        }
    }
}

/// Stands for somebody who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Bounds and patience.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    pub members_max: usize,
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    /// How long an empty group waits for further members after each one that came: a rebalance for each would be dearer.
    pub initial_delay_ms: i64,
    /// How long a new member is kept whose client waits for the rebalance to end.
    pub new_member_ms_max: i64,
}

impl Default for LiveConfig {
    fn default() -> LiveConfig {
        LiveConfig {
            members_max: 5_000,
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            initial_delay_ms: 500,
            new_member_ms_max: 300_000,
        }
    }
}

/// A member asks to take part in the next generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// Empty for one that has none yet.
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// In the order of preference, with what each tells the leader.
    pub protocols: Vec<(String, Vec<u8>)>,
    /// The client knows KIP-394: one without member id gets one and has to come again with it.
    pub requires_known_id: bool,
    /// The id for a member that has none.
    pub id_for_new: String,
}

/// A member of the generation, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub metadata: Vec<u8>,
}

/// The member is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub member_id: String,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    /// All of them, for the leader; nobody else gets any.
    pub members: Vec<JoinedMember>,
}

/// Who says something, and as of which generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speaker {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: i32,
}

/// A member asks for its assignment; the leader brings those of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    pub speaker: Speaker,
    /// Checked where given (since version 5).
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignments: Vec<(String, Vec<u8>)>,
}

/// A member's assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol: String,
    pub assignment: Vec<u8>,
}

/// Tells one order to write from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersistToken(pub u64);

/// What is to happen now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Joined(Ticket, Result<Joined, GroupError>),
    Synced(Ticket, Result<Synced, GroupError>),
    /// Write this; `LiveGroup::persisted` hears how that went.
    Persist(PersistToken, GroupMetadata),
}

/// A member as tools show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Vec<u8>,
    pub assignment: Vec<u8>,
}
