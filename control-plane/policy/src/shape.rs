//! The one table of fields: what objects a document is made of, which fields they have, and what
//! stands in them. The reader takes its names and bounds from here, and so do the JSON Schema and the
//! tables of `docs/policies.md`.

use aegis_contract::action::REPLICAS_MAX;

use crate::obligation::APPROVAL_SECONDS_DEFAULT;

const DAY_SECONDS: u32 = 86_400;
/// Longest span a limit looks over; what must not happen for longer is a DENY.
const SPAN_SECONDS_MAX: u32 = 30 * DAY_SECONDS;
/// Most of anything a limit counts; more is no limit.
const COUNT_MAX: u32 = 1_000_000;
/// Most people that a group may ask for.
const PEOPLE_MAX: u32 = 20;

/// The `schema` of the documents this release reads.
pub const SCHEMA: &str = "aegis.policy/v1";
/// The `schema` of files that hold more tests of a policy.
pub const TESTS_SCHEMA: &str = "aegis.policy-tests/v1";

/// An object of a document.
#[derive(Debug)]
pub struct Object {
    /// What it is called in texts and in the JSON Schema.
    pub name: &'static str,
    /// Its fields; there are no others.
    pub fields: &'static [Field],
    /// At least one of these fields is there; empty when it does not matter.
    pub some_of: &'static [&'static str],
    /// Either all or none of these fields are there.
    pub together: &'static [&'static str],
}

/// A field of an object.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What stands in it.
    pub shape: Shape,
    /// What it means.
    pub meaning: &'static str,
}

/// What stands in a field or a list.
#[derive(Debug)]
pub enum Shape {
    /// Exactly this text.
    Literal(&'static str),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A name in kebab-case.
    Name,
    /// A text of at most so many characters.
    Text(usize),
    /// A text of a form: in words, and as a regular expression for editors. The reader looks closer.
    Form(&'static str, &'static str),
    /// True or false.
    Flag,
    /// A whole number from the first to the second, both included.
    Whole(u32, u32),
    /// A list; `min` is 0 or 1.
    List {
        /// What stands in it.
        of: &'static Shape,
        /// Fewest entries.
        min: u32,
    },
    /// One entry, or a list of at least one.
    OneOrMore(&'static Shape),
    /// An object of these fields.
    Object(&'static Object),
    /// An object of names in kebab-case, each with such an object.
    Map(&'static Object),
    /// An object of these kinds, told apart by their first field.
    Kinds(&'static [&'static Object]),
    /// A condition: a group or a comparison of the table of attributes.
    Condition,
    /// What the operator of a comparison takes.
    Operand,
    /// An object of texts, numbers, true and false under any names.
    Scalars,
}

impl Object {
    /// The names of the fields, as they are documented.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.name)
    }

    /// The bounds of a field that holds a whole number.
    pub(crate) fn bounds(&self, name: &str) -> Option<(u32, u32)> {
        let field = self.fields.iter().find(|field| field.name == name)?;
        match field.shape {
            Shape::Whole(min, max) => Some((min, max)),
            _ => None,
        }
    }
}

const fn must(name: &'static str, shape: Shape, meaning: &'static str) -> Field {
    Field { name, required: true, shape, meaning }
}

const fn may(name: &'static str, shape: Shape, meaning: &'static str) -> Field {
    Field { name, required: false, shape, meaning }
}

const fn object(name: &'static str, fields: &'static [Field]) -> Object {
    Object { name, fields, some_of: &[], together: &[] }
}

pub(crate) const NAME_LENGTH_MAX: usize = 63;
pub(crate) const DESCRIPTION_LENGTH_MAX: usize = 4_000;
pub(crate) const REASON_LENGTH_MAX: usize = 500;

const INSTANT: Shape = Shape::Form(
    "point in time",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$",
);
const MINUTE: Shape = Shape::Form("time of day", "^([01][0-9]|2[0-4]):[0-5][0-9]$");
const DAYS: Shape =
    Shape::Form("weekdays", "^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$");
const DATES: Shape = Shape::Form("dates", "^[0-9]{4}-[0-9]{2}-[0-9]{2}(/[0-9]{4}-[0-9]{2}-[0-9]{2})?$");
const VISIBLE: Shape = Shape::Form("visible ASCII text", "^[!-~]+$");
const ROLE: Shape = Shape::Form("role", r"^[!-)+-~]{1,63}$");
const PER: Shape = Shape::OneOf(&["action", "cluster", "namespace", "principal", "target"]);
const PATTERNS: Shape = Shape::List { of: &VISIBLE, min: 0 };
const LIMIT: Shape = Shape::Kinds(LIMITS);
const APPROVALS: Shape = Shape::List { of: &Shape::Object(&APPROVAL), min: 1 };

/// The whole document.
pub static DOCUMENT: Object = object(
    "document",
    &[
        must("schema", Shape::Literal(SCHEMA), "names the language"),
        must("name", Shape::Name, "unique among the policies of a deployment"),
        may("description", Shape::Text(DESCRIPTION_LENGTH_MAX), "what it is for"),
        may("mode", Shape::OneOf(MODES), "whether it counts: P31; `enforce` when left out"),
        may("validFrom", INSTANT, "the first instant at which its rules apply: P30"),
        may("expiresAt", INSTANT, "the first instant at which they do not any more: P30"),
        may("calendars", Shape::Map(&CALENDAR), "named times that rules of this document refer to: P29"),
        must("rules", Shape::List { of: &Shape::Object(&RULE), min: 1 }, "what it says"),
        may(
            "tests",
            Shape::List { of: &Shape::Object(&TEST), min: 0 },
            "questions and the answers they must get: P39",
        ),
    ],
);

pub(crate) const MODES: &[&str] = &["enforce", "warn", "shadow", "off"];

/// One rule.
pub static RULE: Object = object(
    "rule",
    &[
        must("id", Shape::Name, "unique in the document"),
        must("effect", Shape::OneOf(crate::decision::RuleEffect::NAMES), "what the rule does"),
        may("reason", Shape::Text(REASON_LENGTH_MAX), "shown to whoever asked; write one"),
        may("match", Shape::Object(&MATCH), "whom and what the rule is about: P2"),
        may("when", Shape::Condition, "what must hold besides: P6"),
        may("time", Shape::Object(&TIME), "when the rule applies: P15"),
        may("validFrom", INSTANT, "the first instant at which it applies: P30"),
        may("expiresAt", INSTANT, "the first instant at which it does not any more: P30"),
        may("limits", Shape::List { of: &LIMIT, min: 1 }, "bounds on what it lets through: P34; not on DENY"),
        may("approvals", APPROVALS, "who must agree: P36; not on DENY"),
        may("dryRunOnly", Shape::Flag, "only dry runs: P37; not on DENY"),
        may("breakGlass", Shape::Object(&REVIEW), "for emergencies, to be reviewed: P38; on ALLOW only"),
    ],
);

/// `match`.
pub static MATCH: Object = object(
    "match",
    &[
        may("principals", PATTERNS, "who asks: P21"),
        may("roles", PATTERNS, "a role they hold: P21"),
        may("actions", PATTERNS, "what shall be done: P21"),
        may("resources", PATTERNS, "to what: P22"),
    ],
);

/// A comparison of a condition.
pub static COMPARISON: Object = object(
    "comparison",
    &[
        must("path", VISIBLE, "the attribute: P12"),
        must("op", VISIBLE, "the operator"),
        may("value", Shape::Operand, "what the operator takes"),
    ],
);

/// `time`.
pub static TIME: Object = Object {
    name: "time",
    fields: &[
        may("zone", VISIBLE, "in which clocks are read; goes with `windows`"),
        may("windows", Shape::List { of: &Shape::Object(&WINDOW), min: 1 }, "when the rule applies"),
        may(
            "calendars",
            Shape::List { of: &Shape::Name, min: 1 },
            "applies while one of these is open as well",
        ),
        may("except", Shape::List { of: &Shape::Name, min: 1 }, "never applies while one of these is open"),
    ],
    some_of: &["windows", "calendars", "except"],
    together: &["zone", "windows"],
};

/// A calendar: a time with a name.
pub static CALENDAR: Object = object(
    "calendar",
    &[
        must("zone", VISIBLE, "in which clocks are read"),
        must("windows", Shape::List { of: &Shape::Object(&WINDOW), min: 1 }, "when it is open"),
    ],
);

/// A window of a time or a calendar.
pub static WINDOW: Object = Object {
    name: "window",
    fields: &[
        may("days", Shape::List { of: &DAYS, min: 1 }, "weekdays, or ranges like `mon-fri`"),
        may("dates", Shape::List { of: &DATES, min: 1 }, "days, or ranges like `2026-12-24/2027-01-02`"),
        may("from", MINUTE, "the first minute inside; goes with `to`"),
        may("to", MINUTE, "the first minute outside again; goes with `from`"),
    ],
    some_of: &["days", "dates"],
    together: &["from", "to"],
};

const PER_FIELD: Shape = Shape::OneOrMore(&PER);
const SPAN: Shape = Shape::Whole(1, SPAN_SECONDS_MAX);
const COUNT: Shape = Shape::Whole(1, COUNT_MAX);

/// The kinds of limits.
pub static LIMITS: &[&Object] = &[&COOLDOWN, &RATE, &CONCURRENCY, &UNAVAILABLE, &REPLICAS, &BREAKER];

pub(crate) static COOLDOWN: Object = object(
    "cooldown",
    &[
        must("type", Shape::Literal("cooldown"), "no second action for a while"),
        must("per", PER_FIELD, "counted together: P35"),
        must("seconds", SPAN, "the least time between two actions"),
    ],
);

pub(crate) static RATE: Object = object(
    "rate",
    &[
        must("type", Shape::Literal("rate"), "so many actions in any span of time"),
        must("per", PER_FIELD, "counted together: P35"),
        must("max", COUNT, "most actions in the span"),
        must("seconds", SPAN, "the span"),
    ],
);

pub(crate) static CONCURRENCY: Object = object(
    "concurrency",
    &[
        must("type", Shape::Literal("concurrency"), "so many actions under way at once"),
        must("per", PER_FIELD, "counted together: P35"),
        must("max", COUNT, "most actions at once"),
    ],
);

pub(crate) static UNAVAILABLE: Object = Object {
    name: "unavailable",
    fields: &[
        must("type", Shape::Literal("unavailable"), "no action where too much is down already"),
        must("of", Shape::OneOf(&["target"]), "what is looked at: the pods of the target"),
        may(
            "maxPercent",
            Shape::Whole(0, 100),
            "most of the wanted pods that may be unavailable, in per cent",
        ),
        may("maxPods", Shape::Whole(0, COUNT_MAX), "most pods that may be unavailable"),
    ],
    some_of: &["maxPercent", "maxPods"],
    together: &[],
};

pub(crate) static REPLICAS: Object = Object {
    name: "replicas",
    fields: &[
        must("type", Shape::Literal("replicas"), "how far `scale` may go"),
        may("min", Shape::Whole(0, REPLICAS_MAX), "fewest replicas; 0 on an ALLOW lets nothing be left: P47"),
        may("max", Shape::Whole(1, REPLICAS_MAX), "most replicas"),
        may("maxStep", Shape::Whole(1, REPLICAS_MAX), "most replicas that one action adds or takes away"),
    ],
    some_of: &["min", "max", "maxStep"],
    together: &[],
};

pub(crate) static BREAKER: Object = object(
    "breaker",
    &[
        must("type", Shape::Literal("breaker"), "no action for a while after failures of our own"),
        must("per", PER_FIELD, "counted together: P35"),
        must("failures", COUNT, "the failure that opens the breaker"),
        must("seconds", SPAN, "the span in which failures are counted"),
        must("openSeconds", SPAN, "how long it stays open"),
    ],
);

/// A group of people who must agree.
pub static APPROVAL: Object = object(
    "approval",
    &[
        must("role", ROLE, "the role they hold"),
        must("min", Shape::Whole(1, PEOPLE_MAX), "how many of them"),
        may("expiresSeconds", Shape::Whole(60, 7 * DAY_SECONDS), "how long they have; 900 when left out"),
    ],
);

const _: () = assert!(APPROVAL_SECONDS_DEFAULT == 900, "as the table says");

/// `breakGlass`.
pub static REVIEW: Object = object(
    "breakGlass",
    &[
        must("reviewRole", ROLE, "the role that must look at it afterwards"),
        must("reviewSeconds", Shape::Whole(60, 30 * DAY_SECONDS), "how long they have for it"),
    ],
);

/// A test.
pub static TEST: Object = object(
    "test",
    &[
        must("name", Shape::Text(200), "unique in the document"),
        must("at", INSTANT, "the time of the decision"),
        must("request", Shape::Object(&REQUEST), "the question"),
        may("facts", Shape::Object(&FACTS), "what the executor saw; nothing when left out"),
        must("expect", Shape::Object(&EXPECT), "the answer"),
    ],
);

/// A file of more tests.
pub static TESTS: Object = object(
    "test file",
    &[
        must("schema", Shape::Literal(TESTS_SCHEMA), "names the language"),
        must("policy", Shape::Name, "the policy that is tested"),
        must("tests", Shape::List { of: &Shape::Object(&TEST), min: 1 }, "questions with their answers: P39"),
    ],
);

/// The question of a test.
pub static REQUEST: Object = object(
    "request",
    &[
        must("principal", VISIBLE, "who asks"),
        may("roles", Shape::List { of: &ROLE, min: 0 }, "the roles they hold"),
        must("action", VISIBLE, "what shall be done"),
        must("resource", VISIBLE, "to what"),
        may("params", Shape::Scalars, "the action's parameters"),
        may("metadata", Shape::Scalars, "what the requester states about the case"),
    ],
);

const PODS: Shape = Shape::Whole(0, u32::MAX);

/// The facts of a test.
pub static FACTS: Object = object(
    "facts",
    &[
        may("observedAt", INSTANT, "the time of the decision when left out"),
        may("uid", Shape::Text(200), "`test` when left out"),
        may("generation", PODS, "1 when left out"),
        may("templateDigest", Shape::Form("digest", "^sha256:[0-9a-f]{64}$"), "missing when left out"),
        may("replicas", PODS, "missing when left out"),
        may("readyReplicas", PODS, "`replicas` when left out, or else 1"),
        may("availableReplicas", PODS, "`replicas` when left out, or else 1"),
        may("updatedReplicas", PODS, "`replicas` when left out, or else 1"),
        may("paused", Shape::Flag, "false when left out"),
        may("rollout", Shape::OneOf(crate::attribute::ROLLOUTS), "`complete` when left out"),
        may("podsAffected", PODS, "missing when left out"),
        may("unavailableMax", PODS, "missing when left out"),
        may("unavailableMaxPercent", PODS, "missing when left out"),
        may("disruptionsAllowed", PODS, "missing when left out"),
    ],
);

/// The answer that a test expects.
pub static EXPECT: Object = object(
    "expect",
    &[
        must("decision", Shape::OneOf(&["ALLOW", "DENY"]), "the effect"),
        may(
            "rules",
            Shape::List { of: &Shape::Form("rule name", "^([a-z0-9-]+/)?[a-z0-9-]+$"), min: 0 },
            "exactly the deciding rules: `rule` of this document, or `policy/rule`",
        ),
        may("limits", Shape::List { of: &LIMIT, min: 0 }, "exactly these limits"),
        may("approvals", Shape::List { of: &Shape::Object(&APPROVAL), min: 0 }, "exactly these groups"),
        may("dryRunOnly", Shape::Flag, "whether only dry runs are allowed"),
        may("breakGlass", Shape::Flag, "whether it must be reviewed"),
    ],
);
