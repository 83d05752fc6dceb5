//! The catalogue of rules: a name for each, as Jepsen's checker has it where it has the rule, and what it means.

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    LostWrite,
    Unseen,
    Vanished,
    InconsistentOffsets,
    Duplicate,
    Phantom,
    G1a,
    PrecommittedRead,
    PollSkip,
    NonmonotonicPoll,
    IntPollSkip,
    IntNonmonotonicPoll,
    NonmonotonicSend,
    IntNonmonotonicSend,
    IntSendSkip,
    SplitSend,
    TornSend,
    TornTransaction,
    Hole,
    StalePoll,
    G0,
    G0Process,
    G0Realtime,
    G1c,
    G1cProcess,
    G1cRealtime,
    G1cWrites,
    GroupOffsetBack,
    GroupOffsetAhead,
    GroupSharedKey,
    EmptyTransactionGraph,
    SentTwice,
    LogEnd,
}

impl Rule {
    /// In the order in which a person wants to read them.
    pub const ALL: [Rule; 33] = [
        Rule::LostWrite,
        Rule::Unseen,
        Rule::Vanished,
        Rule::InconsistentOffsets,
        Rule::Duplicate,
        Rule::Phantom,
        Rule::G1a,
        Rule::PrecommittedRead,
        Rule::PollSkip,
        Rule::NonmonotonicPoll,
        Rule::IntPollSkip,
        Rule::IntNonmonotonicPoll,
        Rule::NonmonotonicSend,
        Rule::IntNonmonotonicSend,
        Rule::IntSendSkip,
        Rule::SplitSend,
        Rule::TornSend,
        Rule::TornTransaction,
        Rule::Hole,
        Rule::StalePoll,
        Rule::G0,
        Rule::G0Process,
        Rule::G0Realtime,
        Rule::G1c,
        Rule::G1cProcess,
        Rule::G1cRealtime,
        Rule::G1cWrites,
        Rule::GroupOffsetBack,
        Rule::GroupOffsetAhead,
        Rule::GroupSharedKey,
        Rule::EmptyTransactionGraph,
        Rule::SentTwice,
        Rule::LogEnd,
    ];

    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// What a finding of it says, in a sentence.
    pub fn meaning(self) -> &'static str {
        self.entry().1
    }

    fn entry(self) -> (&'static str, &'static str) {
        match self {
            Rule::LostWrite => ("lost-write", "acknowledged, later messages were read, and nobody ever read it"),
            Rule::Unseen => ("unseen", "acknowledged, and never delivered to anyone by the end"),
            Rule::Vanished => ("vanished", "delivered once, and not there when the log was read again"),
            Rule::InconsistentOffsets => ("inconsistent-offsets", "one offset holds two messages"),
            Rule::Duplicate => ("duplicate", "one message stands at two offsets"),
            Rule::Phantom => ("phantom", "a message that nobody sent was delivered"),
            Rule::G1a => ("G1a", "a message whose send failed for sure was delivered"),
            Rule::PrecommittedRead => ("precommitted-read", "an operation was delivered what it sends itself"),
            Rule::PollSkip => ("poll-skip", "a consumer's next poll passed over messages"),
            Rule::NonmonotonicPoll => ("nonmonotonic-poll", "a consumer's next poll stepped back"),
            Rule::IntPollSkip => ("int-poll-skip", "one poll passed over messages"),
            Rule::IntNonmonotonicPoll => ("int-nonmonotonic-poll", "one poll stepped back"),
            Rule::NonmonotonicSend => ("nonmonotonic-send", "a producer's later send has a lower offset"),
            Rule::IntNonmonotonicSend => {
                ("int-nonmonotonic-send", "within one send, a later message has a lower offset")
            }
            Rule::IntSendSkip => ("int-send-skip", "others' messages stand between those of one operation"),
            Rule::SplitSend => ("split-send", "the offsets of one batch are not contiguous"),
            Rule::TornSend => ("torn-send", "one batch is there in part"),
            Rule::TornTransaction => ("torn-transaction", "one committed transaction is there in part"),
            Rule::Hole => ("hole", "a consumer was led over offsets at which nothing is"),
            Rule::StalePoll => ("stale-poll", "a linearizable poll did not see what was acknowledged before it began"),
            Rule::G0 => ("G0", "a cycle of writes"),
            Rule::G0Process => ("G0-process", "a producer's writes are in another order than it made them"),
            Rule::G0Realtime => ("G0-realtime", "a write stands before one that was acknowledged before it began"),
            Rule::G1c => ("G1c", "a cycle of writes and reads"),
            Rule::G1cProcess => ("G1c-process", "a client's write stands before what the client had read already"),
            Rule::G1cRealtime => ("G1c-realtime", "delivered before it was sent, or written below what was delivered"),
            Rule::G1cWrites => ("G1c-ww", "a cycle of reads and of the order in which transactions wrote"),
            Rule::GroupOffsetBack => ("group-offset-back", "a group's committed offset went back"),
            Rule::GroupOffsetAhead => ("group-offset-ahead", "a group committed past what was delivered to it"),
            Rule::GroupSharedKey => ("group-shared-key", "two members of one generation own one partition"),
            Rule::EmptyTransactionGraph => {
                ("empty-transaction-graph", "nothing that was sent was read: it says nothing")
            }
            Rule::SentTwice => ("sent-twice", "two operations send the same message: the run is wrong, not the store"),
            Rule::LogEnd => ("log-end", "the ends of the log and the appends to it are not linearizable"),
        }
    }
}
