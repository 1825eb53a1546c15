//! Who may do one thing to one resource at one time, and under which conditions.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::answers::{Answers, Counting, enforced};
use super::check::{TOO_LARGE, Undecided, tangled};
use super::diagram::{NOTHING, OverBudget, Region};
use super::regions::Regions;
use super::world::{Dimension, FAMILIES, Named, Witness, World};
use crate::decision::{Decision, Effect, RuleEffect, RuleName};
use crate::evaluate::evaluate;
use crate::resource::Resource;
use crate::set::PolicySet;

/// Somebody who is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// As policies name them, for example `user:7`.
    pub principal: String,
    /// The roles they hold.
    pub roles: Vec<String>,
}

/// Who may.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct WhoCan {
    /// Every rule that lets somebody do it.
    pub grants: Vec<Grant>,
    /// What that means for those who were asked about and may do it at least in some case.
    pub subjects: Vec<SubjectVerdict>,
    /// What could not be decided.
    pub undecided: Vec<Undecided>,
}

/// One ALLOW that lets somebody do it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleName,
    /// Patterns of principals, of which one must match; none means anybody.
    pub principals: Vec<String>,
    /// Patterns of roles, of which one must be held; none means no role is needed.
    pub roles: Vec<String>,
    /// Whether more is asked than that: a condition, or a DENY that does not apply to all of it.
    pub is_conditional: bool,
    /// What every answer by this rule demands.
    pub always: Vec<String>,
    /// What some answers by it demand.
    pub sometimes: Vec<String>,
    /// A question that it allows.
    pub witness: Witness,
    /// The answer to it.
    pub decision: Decision,
}

/// What holds for one of those who were asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SubjectVerdict {
    /// Who.
    pub principal: String,
    /// Whether it depends on more than who they are, on the request or on what the executor sees.
    pub is_conditional: bool,
    /// The rules that let them.
    pub rules: Vec<RuleName>,
    /// What every answer to them demands.
    pub always: Vec<String>,
    /// What some answers to them demand.
    pub sometimes: Vec<String>,
    /// A question of theirs that is allowed.
    pub witness: Witness,
    /// The answer to it.
    pub decision: Decision,
}

/// Finds who may do this to that at `now`.
pub fn who_can(
    set: &PolicySet,
    action: &str,
    resource: &Resource,
    subjects: &[Subject],
    now: Timestamp,
    steps: u64,
) -> WhoCan {
    let mut rules = enforced(set);
    // Rules about other things would only make the world larger.
    rules.retain(|(_, rule)| rule.matching.is_about(action, &resource.to_string()));
    let world = World::new(&rules, &named(action, resource, subjects), now);
    let mut regions = Regions::new(&world, steps);
    let mut found = WhoCan::default();
    let mut undecided = |reason: &str| {
        found.undecided.push(Undecided { rule: None, reason: reason.to_owned() });
    };
    if let Some(why) = tangled(&world) {
        undecided(&why);
    }
    let looked = Answers::of(&rules, &mut regions).and_then(|answers| {
        let asked = asked(action, resource, now, &mut regions)?;
        let grants = grants(set, &answers, asked, &mut regions)?;
        let subjects = verdicts(set, subjects, &answers, asked, &mut regions)?;
        Ok((grants, subjects))
    });
    match looked {
        Ok((grants, subjects)) => (found.grants, found.subjects) = (grants, subjects),
        Err(OverBudget) => undecided(TOO_LARGE),
    }
    found
}

fn named(action: &str, resource: &Resource, subjects: &[Subject]) -> Named {
    let mut named = Named::default();
    named.texts.push((Dimension::Action, action.to_owned()));
    named.texts.extend(segments(resource).into_iter().map(|(dimension, text)| (dimension.clone(), text)));
    for subject in subjects {
        named.texts.push((Dimension::Principal, subject.principal.clone()));
        named.roles.extend(subject.roles.iter().cloned());
    }
    named
}

/// The segments of a resource behind the first, each in its dimension.
fn segments(resource: &Resource) -> Vec<(&'static Dimension, String)> {
    let written = resource.to_string();
    let mut segments = written.split('/');
    let family = segments.next().unwrap_or_default();
    let dimensions = FAMILIES.iter().find(|(name, _)| *name == family).map(|(_, of)| *of);
    dimensions.unwrap_or_default().iter().zip(segments.map(str::to_owned)).collect()
}

/// All questions about this action, this resource and this time.
fn asked(
    action: &str,
    resource: &Resource,
    now: Timestamp,
    regions: &mut Regions<'_>,
) -> Result<Region, OverBudget> {
    let family = if resource.target().is_some() { "k8s" } else { "aegis" };
    let mut parts = vec![
        regions.plausible()?,
        regions.text(&Dimension::Family, family)?,
        regions.text(&Dimension::Action, action)?,
        regions.values(&Dimension::Time, |at| *at == serde_json::json!(now))?,
    ];
    for (dimension, text) in segments(resource) {
        parts.push(regions.text(dimension, &text)?);
    }
    regions.diagrams.all(&parts)
}

fn grants(
    set: &PolicySet,
    answers: &Answers<'_>,
    asked: Region,
    regions: &mut Regions<'_>,
) -> Result<Vec<Grant>, OverBudget> {
    let mut grants = Vec::new();
    for counting in answers.rules.iter().filter(|counting| counting.rule.effect == RuleEffect::Allow) {
        let granted = regions.diagrams.both(counting.decides, asked)?;
        let Some((witness, decision)) = shown(set, granted, regions)? else { continue };
        let matching = &counting.rule.matching;
        let covered = regions.matching(matching)?;
        let covered = regions.diagrams.both(covered, asked)?;
        let (always, sometimes) = demands(answers, granted, regions)?;
        grants.push(Grant {
            rule: counting.name(),
            principals: matching.principals.iter().map(ToString::to_string).collect(),
            roles: matching.roles.iter().map(ToString::to_string).collect(),
            is_conditional: granted != covered,
            always,
            sometimes,
            witness,
            decision,
        });
    }
    Ok(grants)
}

fn verdicts(
    set: &PolicySet,
    subjects: &[Subject],
    answers: &Answers<'_>,
    asked: Region,
    regions: &mut Regions<'_>,
) -> Result<Vec<SubjectVerdict>, OverBudget> {
    let mut verdicts = Vec::new();
    for subject in subjects {
        let mut parts = vec![asked, regions.text(&Dimension::Principal, &subject.principal)?];
        for role in regions.world.roles() {
            let holds = subject.roles.contains(&role);
            parts.push(regions.values(&Dimension::Role(role), |held| *held == holds)?);
        }
        let asking = regions.diagrams.all(&parts)?;
        let allowed = regions.diagrams.both(asking, answers.allowed)?;
        let Some((witness, decision)) = shown(set, allowed, regions)? else { continue };
        let letting = |counting: &&Counting<'_>| counting.rule.effect == RuleEffect::Allow;
        let mut rules = Vec::new();
        for counting in answers.rules.iter().filter(letting) {
            if regions.diagrams.both(allowed, counting.decides)? != NOTHING {
                rules.push(counting.name());
            }
        }
        let (always, sometimes) = demands(answers, allowed, regions)?;
        let (principal, is_conditional) = (subject.principal.clone(), allowed != asking);
        verdicts.push(SubjectVerdict {
            principal,
            is_conditional,
            rules,
            always,
            sometimes,
            witness,
            decision,
        });
    }
    Ok(verdicts)
}

/// What all answers of a region demand, and what only some of them do.
fn demands(
    answers: &Answers<'_>,
    region: Region,
    regions: &mut Regions<'_>,
) -> Result<(Vec<String>, Vec<String>), OverBudget> {
    let (mut always, mut sometimes) = (Vec::new(), Vec::new());
    for obligation in answers.obligations() {
        let demanding = answers.demanding(&obligation, regions)?;
        if regions.diagrams.both(region, demanding)? == NOTHING {
            continue;
        }
        if regions.diagrams.without(region, demanding)? == NOTHING {
            always.push(obligation.to_string());
        } else {
            sometimes.push(obligation.to_string());
        }
    }
    Ok((always, sometimes))
}

/// A question of the region that is allowed.
fn shown(
    set: &PolicySet,
    region: Region,
    regions: &mut Regions<'_>,
) -> Result<Option<(Witness, Decision)>, OverBudget> {
    let Some(witness) = regions.witness(region)? else { return Ok(None) };
    let decision = evaluate(set, &witness.question, witness.facts.as_ref(), witness.at);
    Ok((decision.effect == Effect::Allow).then_some((witness, decision)))
}
