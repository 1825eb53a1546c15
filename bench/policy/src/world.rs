//! Rules and requests in a form that belongs to no engine; each engine writes them its own way.

use std::collections::BTreeMap;

/// One rule. All that it says must hold.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique, in kebab-case.
    pub id: String,
    /// Whether it denies.
    pub denies: bool,
    /// Who asks.
    pub principal: Pattern,
    /// A role they hold.
    pub role: Option<String>,
    /// What shall be done; empty means anything.
    pub actions: Vec<&'static str>,
    /// To what.
    pub cluster: Pattern,
    /// To what.
    pub namespace: Pattern,
    /// To what.
    pub kind: Option<&'static str>,
    /// To what.
    pub name: Pattern,
    /// What must hold besides.
    pub when: Vec<Test>,
    /// When it applies.
    pub hours: Option<Hours>,
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Anything.
    Any,
    /// This text.
    Exact(String),
    /// A text that begins with this one.
    Prefix(String),
}

/// A test of an attribute that may be missing, and then it fails.
#[derive(Clone, Debug)]
pub enum Test {
    /// A text of the metadata is one of these.
    OneOf(String, Vec<String>),
    /// A number of the metadata is at least this.
    AtLeast(String, i64),
    /// A flag of the metadata is set or not.
    Is(String, bool),
    /// The wanted number of replicas is at most this.
    ReplicasAtMost(i64),
    /// The wanted number of replicas is this.
    Replicas(i64),
}

/// Hours of the weekdays Monday to Friday.
#[derive(Clone, Debug)]
pub struct Hours {
    /// Name of the zone.
    pub zone: &'static str,
    /// First hour inside.
    pub from: u8,
    /// First hour outside again.
    pub to: u8,
}

/// A value of the metadata.
#[derive(Clone, Debug)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// A flag.
    Flag(bool),
}

/// One question.
#[derive(Clone, Debug)]
pub struct Request {
    /// `client:…` or `user:…`.
    pub principal: String,
    /// Roles that the principal holds.
    pub roles: Vec<String>,
    /// What shall be done.
    pub action: &'static str,
    /// The target.
    pub cluster: String,
    /// The target.
    pub namespace: String,
    /// The target.
    pub kind: &'static str,
    /// The target.
    pub name: String,
    /// For `scale`.
    pub replicas: Option<i64>,
    /// What the requester states.
    pub metadata: BTreeMap<String, Scalar>,
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// Rules, and the requests that are put to them.
#[derive(Clone, Debug)]
pub struct Workload {
    /// As it is printed.
    pub name: String,
    /// All rules.
    pub rules: Vec<Rule>,
    /// All requests, group after group.
    pub requests: Vec<Request>,
    /// What requests have in common, and how many they are; each group is timed for itself.
    pub groups: Vec<(&'static str, usize)>,
}

impl Rule {
    /// A rule that applies always.
    pub fn new(id: impl Into<String>, denies: bool) -> Self {
        Self {
            id: id.into(),
            denies,
            principal: Pattern::Any,
            role: None,
            actions: Vec::new(),
            cluster: Pattern::Any,
            namespace: Pattern::Any,
            kind: None,
            name: Pattern::Any,
            when: Vec::new(),
            hours: None,
        }
    }
}

impl Workload {
    /// Whether any rule looks at a clock.
    pub fn has_hours(&self) -> bool {
        self.rules.iter().any(|rule| rule.hours.is_some())
    }
}

impl Pattern {
    /// This text.
    pub fn exact(text: impl Into<String>) -> Self {
        Self::Exact(text.into())
    }

    /// A text that begins with this one.
    pub fn prefix(text: impl Into<String>) -> Self {
        Self::Prefix(text.into())
    }

    /// The form with a star, as Aegis and casbin write it.
    pub fn starred(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Exact(text) => text.clone(),
            Self::Prefix(text) => format!("{text}*"),
        }
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    /// One of some.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}
