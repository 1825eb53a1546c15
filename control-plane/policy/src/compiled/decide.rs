//! One decision.

use aegis_contract::facts::Facts;
use jiff::{SignedDuration, Timestamp};

use super::CompiledSet;
use super::answer::Answer;
use super::asked::{Asked, FIELDS, Field, OTHER, Seen};
use super::comparison::Comparison;
use super::condition::{Join, Node, Part, Parts};
use super::index::{Blocks, Row};
use super::predicate::{Predicate, PredicateId};
use super::scratch::{Applying, Scratch};
use super::text::{Symbol, TextSet};
use super::time::Local;
use super::truth::Truth;
use super::value::{Raw, Reading, Source};
use crate::decision::{Effect, RuleEffect};
use crate::evaluate::FACTS_AGE_SECONDS_MAX;
use crate::question::Question;

impl CompiledSet {
    /// Decides as [`evaluate`](crate::evaluate()) does. Allocates nothing once `scratch` has seen a
    /// set as large as this one.
    pub fn decide<'s>(
        &'s self,
        question: &Question,
        facts: Option<&Facts>,
        now: Timestamp,
        scratch: &'s mut Scratch,
    ) -> Answer<'s> {
        self.prepare(scratch);
        let asked = Asked { question, facts, now };
        // Taken out, to be read while the rest of the scratch is written.
        let mut roles = std::mem::take(&mut scratch.roles);
        self.find_roles(question, &mut roles);
        let mut run = Run {
            set: self,
            facts_are_stale: facts.is_some_and(|facts| is_stale(facts, now)),
            seen: self.see(&asked, &roles),
            asked,
            allows: false,
            denies: false,
            scratch,
        };
        run.visit(self.index.rest);
        run.visit_shards();
        // P3: a DENY wins over every ALLOW; P4: without either, the answer is DENY.
        let effect = if run.allows && !run.denies { Effect::Allow } else { Effect::Deny };
        scratch.roles = roles;
        Answer::new(self, effect, &scratch.applying)
    }

    fn prepare(&self, scratch: &mut Scratch) {
        scratch.begin();
        scratch.predicates.fit(self.predicates.table.len());
        scratch.nodes.fit(self.conditions.nodes.len());
        scratch.readings.fit(self.predicates.attributes.len());
        scratch.locals.fit(self.predicates.clocks.len());
        scratch.met.fit(self.rules.len());
    }

    fn find_roles(&self, question: &Question, symbols: &mut Vec<Symbol>) {
        let written = &self.predicates.fields[Field::Role as usize];
        let roles = question.fingerprints().roles.iter().zip(question.roles());
        symbols.extend(roles.map(|(fingerprint, role)| written.find(*fingerprint, role)));
    }

    fn see<'s>(&self, asked: &Asked<'_>, roles: &'s [Symbol]) -> Seen<'s> {
        let mut symbols = [Symbol::UNKNOWN; FIELDS];
        for (field, written) in Field::ALL.into_iter().zip(&self.predicates.fields) {
            if written.len() > 0
                && let (Some(fingerprint), Some(text)) = (asked.fingerprint(field), asked.text(field))
            {
                symbols[field as usize] = written.find(fingerprint, text);
            }
        }
        Seen {
            symbols,
            roles,
            action: asked.question.action_type().map_or(OTHER, |action| action as usize),
            kind: asked.question.resource().target().map_or(OTHER, |target| target.kind as usize),
        }
    }
}

/// A decision under way.
struct Run<'a> {
    set: &'a CompiledSet,
    asked: Asked<'a>,
    seen: Seen<'a>,
    facts_are_stale: bool,
    /// Whether an ALLOW applies.
    allows: bool,
    /// Whether a DENY applies.
    denies: bool,
    scratch: &'a mut Scratch,
}

impl Run<'_> {
    fn visit_shards(&mut self) {
        for shards in &self.set.index.shards {
            if shards.field == Field::Role {
                let roles = self.seen.roles;
                roles.iter().for_each(|role| self.visit(shards.under(*role)));
            } else {
                self.visit(shards.under(self.seen.symbols[shards.field as usize]));
            }
        }
    }

    fn visit(&mut self, blocks: Blocks) {
        let index = &self.set.index;
        for block in &index.blocks[blocks.range()] {
            let seen = self.seen;
            let mut matching = index.matching(block, &seen, |predicate| self.truth(predicate) == Truth::TRUE);
            while matching != 0 {
                let row = block.rows as usize + matching.trailing_zeros() as usize;
                matching &= matching - 1;
                self.meet(index.rows[row]);
            }
        }
    }

    /// P2 holds for this row; what remains are P15 and P6.
    fn meet(&mut self, row: Row) {
        if row.repeats {
            if self.scratch.met.get(self.scratch.round, row.rule).is_some() {
                return;
            }
            self.scratch.met.set(self.scratch.round, row.rule, ());
        }
        let truth = row.guard.map_or(Truth::TRUE, |guard| self.judge(guard));
        // P18, P19: unknown never makes an ALLOW apply, and every other rule.
        let applies = truth == Truth::TRUE || (truth.is_unknown() && row.effect != RuleEffect::Allow);
        if applies {
            // P31: rules that do not count change nothing.
            self.allows |= row.counts && row.effect == RuleEffect::Allow;
            self.denies |= row.counts && row.effect == RuleEffect::Deny;
            self.scratch.applying.push(Applying { rule: row.rule, truth });
        }
    }

    /// P7. The depth is bounded by that of documents.
    fn judge(&mut self, part: Part) -> Truth {
        let node = match part {
            Part::Test(predicate) => return self.truth(predicate),
            Part::Node(node) => node,
        };
        if let Some(truth) = self.scratch.nodes.get(self.scratch.round, node) {
            return truth;
        }
        let truth = match self.set.conditions.nodes[node as usize] {
            Node::All(parts) => self.join(parts, Truth::FALSE),
            Node::Any(parts) => self.join(parts, Truth::TRUE),
            Node::Not(part) => self.judge(part).not(),
            Node::Valid(validity) => Truth::known(validity.holds(self.asked.now)),
        };
        self.scratch.nodes.set(self.scratch.round, node, truth);
        truth
    }

    fn join(&mut self, parts: Parts, decisive: Truth) -> Truth {
        let mut join = Join::new(decisive);
        for part in self.set.conditions.parts(parts) {
            if join.decides(self.judge(*part)) {
                break;
            }
        }
        join.truth()
    }

    /// Each predicate is evaluated at most once.
    fn truth(&mut self, id: PredicateId) -> Truth {
        if let Some(truth) = self.scratch.predicates.get(self.scratch.round, id) {
            return truth;
        }
        let truth = match &self.set.predicates.table[id as usize] {
            Predicate::Text(Field::Role, roles) => Truth::known(self.holds_role(roles)),
            Predicate::Text(field, texts) => Truth::known(self.has_text(*field, texts)),
            Predicate::Form(form) => Truth::known(self.asked.form() == *form),
            Predicate::Open(hours) => Truth::known(self.is_open(*hours)),
            Predicate::Compare(attribute, comparison) => self.compare(*attribute, comparison),
        };
        self.scratch.predicates.set(self.scratch.round, id, truth);
        truth
    }

    fn has_text(&self, field: Field, texts: &TextSet) -> bool {
        let text = self.asked.text(field);
        text.is_some_and(|text| texts.matches(self.seen.symbols[field as usize], text))
    }

    fn holds_role(&self, texts: &TextSet) -> bool {
        let mut roles = self.seen.roles.iter().zip(self.asked.question.roles());
        roles.any(|(symbol, role)| texts.matches(*symbol, role))
    }

    fn is_open(&mut self, hours: u32) -> bool {
        let hours = &self.set.predicates.hours[hours as usize];
        hours.is_open(self.local(hours.clock), self.asked.now)
    }

    fn local(&mut self, clock: u32) -> Local {
        if let Some(local) = self.scratch.locals.get(self.scratch.round, clock) {
            return local;
        }
        let local = self.set.predicates.clocks[clock as usize].local(self.asked.now);
        self.scratch.locals.set(self.scratch.round, clock, local);
        local
    }

    fn compare(&mut self, attribute: u32, comparison: &Comparison) -> Truth {
        let reading = self.reading(attribute);
        let source = &self.set.predicates.attributes[attribute as usize].source;
        let text = match comparison {
            Comparison::Text(_) => source.read(&self.asked, &mut self.scratch.text).and_then(Raw::text),
            _ => None,
        };
        match comparison.holds(reading, self.seen.roles, text) {
            Ok(holds) => Truth::known(holds),
            Err(cause) => Truth::unknown(attribute, cause),
        }
    }

    /// Each attribute is looked up at most once.
    fn reading(&mut self, attribute: u32) -> Reading {
        if let Some(reading) = self.scratch.readings.get(self.scratch.round, attribute) {
            return reading;
        }
        let predicates = &self.set.predicates;
        let source = &predicates.attributes[attribute as usize].source;
        let reading = if self.facts_are_stale && matches!(source, Source::Fact(_)) {
            Reading::Stale
        } else {
            Reading::of(source.read(&self.asked, &mut self.scratch.text).as_ref(), &predicates.texts)
        };
        self.scratch.readings.set(self.scratch.round, attribute, reading);
        reading
    }
}

/// P14: facts hold for a minute.
fn is_stale(facts: &Facts, now: Timestamp) -> bool {
    now.duration_since(facts.observed_at).abs() > SignedDuration::from_secs(FACTS_AGE_SECONDS_MAX.into())
}
