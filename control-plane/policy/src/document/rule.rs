//! Reads documents and rules; what is in them is read by the modules beside this one.

use std::collections::BTreeSet;

use aegis_contract::action::ActionType;
use aegis_contract::digest::Digest;
use serde_json::{Map, Value};

use super::place::Place;
use super::reader::{Reader, each};
use super::time::{Calendars, read_calendars, read_time, read_validity};
use super::{Match, Mode, Policy, Problem, Rule, case, code, condition, obligation};
use crate::decision::RuleEffect;
use crate::obligation::{Approval, Limit, Review};
use crate::part::Part;
use crate::pattern::{Glob, PatternError, ResourcePattern};
use crate::shape::{DESCRIPTION_LENGTH_MAX, DOCUMENT, MATCH, MODES, REASON_LENGTH_MAX, RULE, SCHEMA};
use crate::suggest::nearest;

/// Reads a document, all but its digest.
pub(super) fn read_policy(reader: &mut Reader<'_>, document: &Value) -> Option<Policy> {
    let root = Place::Root;
    let fields = reader.object(&root, document)?;
    reader.known_fields(&root, fields, &DOCUMENT);
    read_schema(reader, &root, fields.get("schema"), SCHEMA);
    let name = reader.name(&root, fields, "name");
    let description = reader.optional_text(&root, fields, "description", DESCRIPTION_LENGTH_MAX);
    let mode = read_mode(reader, &root, fields);
    let validity = read_validity(reader, &root, fields);
    let calendars = read_calendars(reader, &root, fields.get("calendars"));
    let rules = read_rules(reader, &root, fields.get("rules"), mode, &calendars);
    let tests = case::read_tests(reader, &root, fields);
    Some(Policy {
        name: name?,
        description: description.unwrap_or_default(),
        mode: mode?,
        validity,
        rules: rules?,
        tests: tests?,
        canonical: Vec::new(),
        digest: Digest::of(b""),
    })
}

pub(super) fn read_schema(
    reader: &mut Reader<'_>,
    root: &Place<'_>,
    schema: Option<&Value>,
    known: &'static str,
) {
    let place = root.field("schema");
    match schema {
        None => reader.missing(&place),
        Some(Value::String(text)) if text == known => {}
        Some(_) => reader.report(
            Problem::new(place.pointer(), code::UNKNOWN_SCHEMA, "this release reads one schema only")
                .expected(format!("\"{known}\""))
                .suggestion(Some(known)),
        ),
    }
}

/// P31: reads the mode of a policy.
fn read_mode(reader: &mut Reader<'_>, root: &Place<'_>, fields: &Map<String, Value>) -> Option<Mode> {
    let Some(value) = fields.get("mode") else { return Some(Mode::Enforce) };
    let place = root.field("mode");
    let modes = [Mode::Enforce, Mode::Warn, Mode::Shadow, Mode::Off];
    let mode = modes[reader.one_of(&place, value, MODES)?];
    match mode {
        Mode::Warn => reader.uses(&place, Part::Warn),
        Mode::Shadow => reader.uses(&place, Part::Shadow),
        Mode::Enforce | Mode::Off => {}
    }
    Some(mode)
}

fn read_rules(
    reader: &mut Reader<'_>,
    root: &Place<'_>,
    rules: Option<&Value>,
    mode: Option<Mode>,
    calendars: &Calendars,
) -> Option<Vec<Rule>> {
    let place = root.field("rules");
    let Some(rules) = rules else {
        reader.missing(&place);
        return None;
    };
    let rules = reader.filled_list(&place, rules)?;
    let mut ids = BTreeSet::new();
    each(&place, rules, |place, rule| {
        if let Some(id) = rule.get("id").and_then(Value::as_str)
            && !ids.insert(id)
        {
            let message = format!("another rule of this document has the id `{id}`");
            reader.report(Problem::new(place.field("id").pointer(), code::DUPLICATE_RULE_ID, message));
        }
        read_rule(reader, place, rule, mode, calendars)
    })
}

fn read_rule(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    rule: &Value,
    mode: Option<Mode>,
    calendars: &Calendars,
) -> Option<Rule> {
    let fields = reader.object(place, rule)?;
    reader.known_fields(place, fields, &RULE);
    let id = reader.name(place, fields, "id");
    let effect = read_effect(reader, place, fields, mode);
    let reason = reader.optional_text(place, fields, "reason", REASON_LENGTH_MAX);
    let matching = match fields.get("match") {
        Some(value) => read_match(reader, &place.field("match"), value),
        None => Some(Match::default()),
    };
    // A condition is judged against what the rule matches; with a broken match it is judged
    // against everything, so that its own problems are still found.
    let actions = possible_actions(matching.as_ref());
    let when = fields
        .get("when")
        .map(|value| condition::read_when(reader, &place.field("when"), value, effect, &actions));
    let time = fields.get("time").map(|value| read_time(reader, &place.field("time"), value, calendars));
    let validity = read_validity(reader, place, fields);
    let demands = read_demands(reader, place, fields, effect);
    let (id, effect, demands) = (id?, effect?, demands?);
    let reason = reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| match effect {
        RuleEffect::Allow => format!("allowed by the rule {id}"),
        RuleEffect::Deny => format!("denied by the rule {id}"),
        RuleEffect::Require => format!("required by the rule {id}"),
    });
    // Absent is well; present and unreadable is not.
    let (when, time) =
        (when.map_or(Some(None), |when| when.map(Some))?, time.map_or(Some(None), |time| time.map(Some))?);
    let Demands { limits, approvals, dry_run_only, break_glass } = demands;
    Some(Rule {
        id,
        effect,
        reason,
        matching: matching?,
        when,
        time,
        validity,
        limits,
        approvals,
        dry_run_only,
        break_glass,
    })
}

fn read_effect(
    reader: &mut Reader<'_>,
    rule: &Place<'_>,
    fields: &Map<String, Value>,
    mode: Option<Mode>,
) -> Option<RuleEffect> {
    let place = rule.field("effect");
    let effect = match reader.required_text(rule, fields, "effect")? {
        "ALLOW" => RuleEffect::Allow,
        "DENY" => RuleEffect::Deny,
        "REQUIRE" => RuleEffect::Require,
        other => {
            reader.report(
                Problem::new(place.pointer(), code::UNKNOWN_EFFECT, "there is no such effect")
                    .expected(RuleEffect::NAMES.join(", "))
                    .suggestion(nearest(other, RuleEffect::NAMES.iter().copied())),
            );
            return None;
        }
    };
    // P31: a grant that only warns is none, and reads as if it were one.
    if (mode, effect) == (Some(Mode::Warn), RuleEffect::Allow) {
        let message = "a policy in mode `warn` never grants, so it may not hold an ALLOW; \
                       put it into a policy of its own";
        reader.report(Problem::new(place.pointer(), code::WARN_ALLOW, message));
    }
    Some(effect)
}

/// What a rule demands besides.
#[derive(Default)]
struct Demands {
    limits: Vec<Limit>,
    approvals: Vec<Approval>,
    dry_run_only: bool,
    break_glass: Option<Review>,
}

fn read_demands(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    fields: &Map<String, Value>,
    effect: Option<RuleEffect>,
) -> Option<Demands> {
    check_effect_has(reader, place, fields, effect);
    let list = |reader: &mut Reader<'_>, name: &str, part: Part| {
        let (place, value) = (place.field(name), fields.get(name)?);
        reader.uses(&place, part);
        Some(reader.filled_list(&place, value).map(<[Value]>::to_vec))
    };
    let limits = list(reader, "limits", Part::Limits)
        .map_or(Some(Vec::new()), |limits| obligation::read_limits(reader, &place.field("limits"), &limits?));
    let approvals = list(reader, "approvals", Part::Approvals).map_or(Some(Vec::new()), |approvals| {
        obligation::read_approvals(reader, &place.field("approvals"), &approvals?)
    });
    let dry_run_only = reader.flag(place, fields, "dryRunOnly").unwrap_or_default();
    if dry_run_only {
        reader.uses(&place.field("dryRunOnly"), Part::DryRunOnly);
    }
    let break_glass = fields.get("breakGlass").map(|value| {
        let place = place.field("breakGlass");
        reader.uses(&place, Part::BreakGlass);
        obligation::read_review(reader, &place, value)
    });
    let break_glass = break_glass.map_or(Some(None), |review| review.map(Some));
    let demands = Demands { limits: limits?, approvals: approvals?, dry_run_only, break_glass: break_glass? };
    // P33: a REQUIRE that requires nothing is a slip.
    let empty = demands.limits.is_empty() && demands.approvals.is_empty() && !demands.dry_run_only;
    if empty && effect == Some(RuleEffect::Require) {
        let message = "a REQUIRE must require something";
        let problem = Problem::new(place.pointer(), code::EMPTY, message);
        reader.report(problem.expected("limits, approvals or dryRunOnly"));
    }
    Some(demands)
}

/// P33, P38: a DENY demands nothing, and only an ALLOW is for emergencies.
fn check_effect_has(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    fields: &Map<String, Value>,
    effect: Option<RuleEffect>,
) {
    let misplaced: &[&str] = match effect {
        Some(RuleEffect::Deny) => &["limits", "approvals", "dryRunOnly", "breakGlass"],
        Some(RuleEffect::Require) => &["breakGlass"],
        Some(RuleEffect::Allow) | None => &[],
    };
    for name in misplaced.iter().filter(|name| fields.contains_key(**name)) {
        let message = format!("a rule of this effect has no `{name}`");
        reader.report(Problem::new(place.field(name).pointer(), code::MISPLACED_FIELD, message));
    }
}

fn read_match(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Match> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &MATCH);
    let principals = read_dimension(reader, place, fields, "principals", Glob::parse_principal);
    let roles = read_dimension(reader, place, fields, "roles", Glob::parse);
    let actions = read_dimension(reader, place, fields, "actions", Glob::parse);
    if let Some(actions) = &actions {
        check_actions(reader, place, fields, actions);
    }
    let resources = read_dimension(reader, place, fields, "resources", ResourcePattern::parse);
    Some(Match { principals: principals?, roles: roles?, actions: actions?, resources: resources? })
}

fn read_dimension<T>(
    reader: &mut Reader<'_>,
    parent: &Place<'_>,
    fields: &Map<String, Value>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, PatternError>,
) -> Option<Vec<T>> {
    let Some(value) = fields.get(name) else { return Some(Vec::new()) };
    let place = parent.field(name);
    let entries = reader.list(&place, value)?;
    each(&place, entries, |place, entry| {
        let text = reader.text(place, entry)?;
        let parsed = parse(text).map_err(|error| {
            reader.report(
                Problem::new(place.pointer(), code::INVALID_PATTERN, error.message)
                    .suggestion(error.suggestion.as_deref()),
            );
        });
        parsed.ok()
    })
}

/// P23: every entry must be able to match an action: a misspelt one in a DENY would never deny.
fn check_actions(reader: &mut Reader<'_>, place: &Place<'_>, fields: &Map<String, Value>, actions: &[Glob]) {
    let known = ActionType::ALL.map(ActionType::as_str);
    let dimension = place.field("actions");
    for (index, glob) in actions.iter().enumerate() {
        if !known.iter().any(|action| glob.matches(action)) {
            let written = fields["actions"][index].as_str().unwrap_or_default();
            reader.report(
                Problem::new(dimension.item(index).pointer(), code::UNKNOWN_ACTION, "this matches no action")
                    .expected(known.join(", "))
                    .suggestion(nearest(written, known)),
            );
        }
    }
}

/// The actions that a rule can be about.
fn possible_actions(matching: Option<&Match>) -> Vec<ActionType> {
    let globs = matching.map_or(&[][..], |matching| &matching.actions);
    let possible =
        |action: &ActionType| globs.is_empty() || globs.iter().any(|glob| glob.matches(action.as_str()));
    ActionType::ALL.into_iter().filter(possible).collect()
}
