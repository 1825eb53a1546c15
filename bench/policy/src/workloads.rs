//! The workloads, each made from its size alone.

use std::collections::BTreeMap;

use crate::world::{Hours, Pattern, Random, Request, Rule, Scalar, Test, Workload};

/// Distinct requests of a workload. They are put in turn, so that neither the branch predictor nor the
/// first cache level knows the next one by heart.
const REQUESTS: usize = 512;

/// Friday, 2026-11-20, noon in UTC.
const NOON: i64 = 1_795_176_000;

/// Requests that a rule allows, that no rule allows, and that a rule denies besides.
const HEAL_GROUPS: [&str; 3] = ["hit", "miss", "deny"];

fn all() -> Vec<(&'static str, usize)> {
    vec![("", REQUESTS)]
}

/// People of five roles, a rule for each role and action.
pub fn rbac() -> Workload {
    let roles = ["viewer", "operator", "sre", "sre-lead", "admin"];
    let actions = ["restart", "restart-pod", "scale", "rollback"];
    let mut rules = Vec::new();
    for (level, role) in roles.iter().enumerate() {
        for action in &actions[..level] {
            let mut rule = Rule::new(format!("{role}-{action}"), false);
            rule.role = Some((*role).to_owned());
            rule.actions = vec![action];
            rules.push(rule);
        }
    }
    let mut random = Random(1);
    let requests = (0..REQUESTS).map(|index| {
        let mut request = request(&mut random, index % 40);
        request.principal = format!("user:{}", index % 100);
        request.roles = vec![random.pick(&roles).to_owned()];
        request.action = random.pick(&actions);
        request.metadata = BTreeMap::new();
        request
    });
    Workload { name: "small RBAC, 10 rules".to_owned(), requests: requests.collect(), rules, groups: all() }
}

/// Teams with a namespace and a bot each, ten rules a team, and two rules for all.
pub fn heal(size: usize) -> Workload {
    let teams = teams(size);
    let mut rules = vec![no_system(), no_scale_to_zero()];
    for team in 0..teams {
        rules.extend(team_rules(team));
    }
    rules.truncate(size);
    let mut random = Random(size as u64);
    let mut requests = Vec::new();
    for group in HEAL_GROUPS {
        for _ in 0..REQUESTS {
            let team = random.below(teams);
            let mut request = request(&mut random, team);
            match group {
                "miss" => request.principal = "client:stranger".to_owned(),
                "deny" => {
                    request.metadata.insert("frozen".to_owned(), Scalar::Flag(true));
                }
                _ => {}
            }
            requests.push(request);
        }
    }
    let groups = HEAL_GROUPS.map(|group| (group, REQUESTS)).to_vec();
    Workload { name: format!("heal, {size} rules"), requests, rules, groups }
}

fn teams(size: usize) -> usize {
    (size.saturating_sub(2)).div_ceil(10).max(1)
}

/// The same without conditions on metadata, which casbin's rows cannot carry.
pub fn heal_without_metadata(size: usize) -> Workload {
    let mut workload = heal(size);
    workload.name = format!("heal without metadata, {size} rules");
    workload.rules.retain(|rule| rule.role.is_none());
    workload.rules.retain(|rule| !rule.denies || rule.when.is_empty());
    for rule in &mut workload.rules {
        rule.when.clear();
    }
    workload
}

fn no_system() -> Rule {
    Rule { namespace: Pattern::prefix("kube-"), ..Rule::new("no-system", true) }
}

fn no_scale_to_zero() -> Rule {
    Rule { actions: vec!["scale"], when: vec![Test::Replicas(0)], ..Rule::new("no-scale-to-zero", true) }
}

fn team_rules(team: usize) -> Vec<Rule> {
    let of_team = |what: &str, denies| {
        let mut rule = Rule::new(format!("team-{team}-{what}"), denies);
        rule.cluster = Pattern::prefix("prod-");
        rule.namespace = Pattern::exact(format!("team-{team}"));
        rule
    };
    let bot = |what: &str, actions: &[&'static str], name: Pattern, when: Vec<Test>| {
        let mut rule = of_team(what, false);
        rule.principal = Pattern::exact(format!("client:bot-{team}"));
        rule.actions = actions.to_vec();
        rule.name = name;
        rule.when = when;
        rule
    };
    let severe = || Test::OneOf("severity".to_owned(), vec!["high".to_owned(), "critical".to_owned()]);
    let mut people = of_team("people", false);
    people.role = Some(format!("sre-{team}"));
    let mut frozen = of_team("frozen", true);
    frozen.when = vec![Test::Is("frozen".to_owned(), true)];
    let mut payments = of_team("payments", true);
    payments.name = Pattern::prefix("payments-");
    let mut pods = bot("pods", &["restart-pod"], Pattern::Any, vec![severe()]);
    pods.kind = Some("Pod");
    vec![
        bot("web", &["restart"], Pattern::prefix("web-"), vec![severe()]),
        bot("api", &["restart", "rollback"], Pattern::prefix("api-"), vec![severe()]),
        bot(
            "worker",
            &["restart"],
            Pattern::prefix("worker-"),
            vec![severe(), Test::AtLeast("confidence".to_owned(), 80)],
        ),
        bot("cache", &["restart"], Pattern::exact("cache"), Vec::new()),
        bot("scale", &["scale"], Pattern::Any, vec![Test::ReplicasAtMost(10)]),
        pods,
        bot("planned", &["restart", "scale"], Pattern::Any, vec![Test::Is("planned".to_owned(), true)]),
        people,
        frozen,
        payments,
    ]
}

fn request(random: &mut Random, team: usize) -> Request {
    let metadata = [
        ("confidence", Scalar::Number(90)),
        ("frozen", Scalar::Flag(false)),
        ("severity", Scalar::Text(random.pick(&["high", "critical"]).to_owned())),
        ("source", Scalar::Text("alertmanager".to_owned())),
        ("ticket", Scalar::Text(format!("INC-{}", random.below(100_000)))),
    ];
    let workload = random.pick(&["web", "api", "worker"]);
    Request {
        principal: format!("client:bot-{team}"),
        roles: Vec::new(),
        action: "restart",
        cluster: format!("prod-{}", random.below(4)),
        namespace: format!("team-{team}"),
        kind: "Deployment",
        name: format!("{workload}-{}", random.below(30)),
        replicas: None,
        metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        now: NOON,
    }
}

/// Eight conditions a rule, on twenty keys of metadata, in a hundred namespaces.
pub fn metadata_heavy() -> Workload {
    let mut random = Random(2);
    let values = |key: usize| (0..8).map(|value| format!("value-{key}-{value}")).collect::<Vec<_>>();
    let rules = (0..1_000).map(|number| {
        let mut rule = Rule::new(format!("rule-{number}"), number % 10 == 9);
        rule.namespace = Pattern::exact(format!("team-{}", number % 100));
        rule.when = (0..8)
            .map(|_| {
                let key = random.below(20);
                let first = random.below(2);
                Test::OneOf(format!("key-{key}"), values(key)[first..first + 7].to_vec())
            })
            .collect();
        rule
    });
    let rules = rules.collect();
    let requests = (0..REQUESTS).map(|_| {
        let team = random.below(100);
        let mut request = request(&mut random, team);
        let value = |key: usize, random: &mut Random| Scalar::Text(random.pick(&values(key)));
        request.metadata = (0..20).map(|key| (format!("key-{key}"), value(key, &mut random))).collect();
        request
    });
    Workload {
        name: "metadata-heavy, 1000 rules".to_owned(),
        requests: requests.collect(),
        rules,
        groups: all(),
    }
}

/// Zones of the time windows.
pub const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Sydney"];

/// Office hours in four zones, ten rules a namespace.
pub fn time_windows() -> Workload {
    let mut random = Random(3);
    let rules = (0..1_000).map(|number| {
        let mut rule = Rule::new(format!("rule-{number}"), number % 10 == 9);
        rule.namespace = Pattern::exact(format!("team-{}", number % 100));
        let from = u8::try_from(random.below(20)).unwrap_or_default();
        rule.hours = Some(Hours { zone: random.pick(&ZONES), from, to: from + 3 });
        rule
    });
    let rules = rules.collect();
    let requests = (0..REQUESTS).map(|_| {
        let team = random.below(100);
        let mut request = request(&mut random, team);
        request.now = NOON + i64::try_from(random.below(7 * 24 * 60)).unwrap_or_default() * 60;
        request
    });
    Workload {
        name: "time windows, 1000 rules".to_owned(),
        requests: requests.collect(),
        rules,
        groups: all(),
    }
}

/// Rules that all apply to every request.
pub fn all_apply(size: usize) -> Workload {
    let rules = (0..size).map(|number| {
        let mut rule = Rule::new(format!("rule-{number}"), false);
        rule.principal = Pattern::prefix("client:");
        rule.cluster = Pattern::prefix("prod");
        rule.name = Pattern::prefix("w");
        rule
    });
    let rules = rules.collect();
    let mut random = Random(4);
    let requests = (0..REQUESTS).map(|index| {
        let mut request = request(&mut random, index);
        request.name = format!("w-{index}");
        request
    });
    Workload {
        name: format!("all apply, {size} rules of wildcards"),
        requests: requests.collect(),
        rules,
        groups: all(),
    }
}

/// Patterns that begin with a text of their own, in each of three dimensions: nothing to look up.
pub fn distinct_prefixes(size: usize) -> Workload {
    let rules = (0..size).map(|number| {
        let mut rule = Rule::new(format!("rule-{number}"), number % 10 == 9);
        rule.namespace = Pattern::prefix(format!("team-{}-", number / 10));
        rule.name = Pattern::prefix(format!("web-{}", number % 10));
        rule
    });
    let rules = rules.collect();
    let mut random = Random(5);
    let requests = (0..REQUESTS).map(|_| {
        let team = random.below(size.div_ceil(10));
        let mut request = request(&mut random, team);
        request.namespace = format!("team-{team}-eu");
        request
    });
    Workload {
        name: format!("distinct prefixes, {size} rules"),
        requests: requests.collect(),
        rules,
        groups: all(),
    }
}

/// One rule in each of so many namespaces.
pub fn namespaces(size: usize) -> Workload {
    let rules = (0..size).map(|number| {
        let mut rule = Rule::new(format!("rule-{number}"), false);
        rule.principal = Pattern::prefix("client:");
        rule.namespace = Pattern::exact(format!("team-{number}"));
        rule
    });
    let rules = rules.collect();
    let mut random = Random(6);
    let requests = (0..REQUESTS).map(|_| {
        let team = random.below(size + size / 4);
        request(&mut random, team)
    });
    Workload {
        name: format!("{size} namespaces, a rule in each"),
        requests: requests.collect(),
        rules,
        groups: all(),
    }
}

/// Rules that all look for attributes that no request has.
pub fn missing_attributes(size: usize) -> Workload {
    let rules = (0..size).map(|number| {
        let mut rule = Rule::new(format!("rule-{number}"), number % 10 == 9);
        rule.when = vec![Test::Is(format!("absent-{}", number % 500), true)];
        rule
    });
    let rules = rules.collect();
    let mut random = Random(7);
    let requests = (0..REQUESTS).map(|index| request(&mut random, index));
    Workload {
        name: format!("missing attributes, {size} rules"),
        requests: requests.collect(),
        rules,
        groups: all(),
    }
}
