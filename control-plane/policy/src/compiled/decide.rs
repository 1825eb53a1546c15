//! One decision.

use aegis_contract::facts::Facts;
use jiff::{SignedDuration, Timestamp};

use super::CompiledSet;
use super::answer::Answer;
use super::asked::{Asked, FIELDS, Field};
use super::comparison::Comparison;
use super::condition::{self, NodeId};
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
        let mut run = Run {
            set: self,
            facts_are_stale: facts.is_some_and(|facts| is_stale(facts, now)),
            symbols: self.symbols(&asked),
            asked,
            allows: false,
            denies: false,
            scratch,
        };
        run.find_roles();
        run.visit(self.index.rest);
        run.visit_shards();
        // P3: a DENY wins over every ALLOW; P4: without either, the answer is DENY.
        let effect = if run.allows && !run.denies { Effect::Allow } else { Effect::Deny };
        Answer::new(self, effect, &scratch.applying)
    }

    fn prepare(&self, scratch: &mut Scratch) {
        scratch.predicates.begin(self.predicates.table.len());
        scratch.guards.begin(self.nodes.len());
        scratch.readings.begin(self.predicates.attributes.len());
        scratch.locals.begin(self.predicates.clocks.len());
        scratch.met.begin(self.rules.len());
        scratch.roles.clear();
        scratch.applying.clear();
    }

    fn symbols(&self, asked: &Asked<'_>) -> [Symbol; FIELDS] {
        Field::ALL.map(|field| {
            let symbols = &self.predicates.fields[field as usize];
            match asked.text(field) {
                Some(text) if symbols.len() > 0 => symbols.find(text),
                _ => Symbol::UNKNOWN,
            }
        })
    }
}

/// A decision under way.
struct Run<'a> {
    set: &'a CompiledSet,
    asked: Asked<'a>,
    facts_are_stale: bool,
    symbols: [Symbol; FIELDS],
    /// Whether an ALLOW applies.
    allows: bool,
    /// Whether a DENY applies.
    denies: bool,
    scratch: &'a mut Scratch,
}

impl Run<'_> {
    fn find_roles(&mut self) {
        let symbols = &self.set.predicates.fields[Field::Role as usize];
        let roles = self.asked.question.roles();
        self.scratch.roles.extend(roles.iter().map(|role| symbols.find(role)));
    }

    fn visit_shards(&mut self) {
        for field in Field::ALL {
            self.visit(self.set.index.under(field, self.symbols[field as usize]));
        }
        for role in 0..self.scratch.roles.len() {
            self.visit(self.set.index.under(Field::Role, self.scratch.roles[role]));
        }
    }

    fn visit(&mut self, blocks: Blocks) {
        let index = &self.set.index;
        for block in &index.blocks[blocks.range()] {
            let mut matching = index.matching(block, |predicate| self.truth(predicate) == Truth::TRUE);
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
            if self.scratch.met.get(row.rule as usize).is_some() {
                return;
            }
            self.scratch.met.set(row.rule as usize, ());
        }
        let truth = if row.guard == Row::UNGUARDED { Truth::TRUE } else { self.guard(row.guard) };
        // P18, P19: unknown never makes an ALLOW apply, and every other rule.
        let applies = truth == Truth::TRUE || (truth.is_unknown() && row.effect != RuleEffect::Allow);
        if applies {
            // P31: rules that do not count change nothing.
            self.allows |= row.counts && row.effect == RuleEffect::Allow;
            self.denies |= row.counts && row.effect == RuleEffect::Deny;
            self.scratch.applying.push(Applying { rule: row.rule, truth });
        }
    }

    fn guard(&mut self, guard: NodeId) -> Truth {
        if let Some(truth) = self.scratch.guards.get(guard as usize) {
            return truth;
        }
        let (set, now) = (self.set, self.asked.now);
        let truth = condition::judge(&set.nodes, guard, now, &mut |predicate| self.truth(predicate));
        self.scratch.guards.set(guard as usize, truth);
        truth
    }

    /// Each predicate is evaluated at most once.
    fn truth(&mut self, id: PredicateId) -> Truth {
        if let Some(truth) = self.scratch.predicates.get(id as usize) {
            return truth;
        }
        let truth = match &self.set.predicates.table[id as usize] {
            Predicate::Text(Field::Role, roles) => Truth::known(self.holds_role(roles)),
            Predicate::Text(field, texts) => Truth::known(self.has_text(*field, texts)),
            Predicate::Form(form) => Truth::known(self.asked.form() == *form),
            Predicate::Open(hours) => Truth::known(self.is_open(*hours)),
            Predicate::Compare(attribute, comparison) => self.compare(*attribute, comparison),
        };
        self.scratch.predicates.set(id as usize, truth);
        truth
    }

    fn has_text(&self, field: Field, texts: &TextSet) -> bool {
        let text = self.asked.text(field);
        text.is_some_and(|text| texts.matches(self.symbols[field as usize], text))
    }

    fn holds_role(&self, texts: &TextSet) -> bool {
        let mut roles = self.scratch.roles.iter().zip(self.asked.question.roles());
        roles.any(|(symbol, role)| texts.matches(*symbol, role))
    }

    fn is_open(&mut self, hours: u32) -> bool {
        let hours = &self.set.predicates.hours[hours as usize];
        hours.is_open(self.local(hours.clock), self.asked.now)
    }

    fn local(&mut self, clock: u32) -> Local {
        if let Some(local) = self.scratch.locals.get(clock as usize) {
            return local;
        }
        let local = self.set.predicates.clocks[clock as usize].local(self.asked.now);
        self.scratch.locals.set(clock as usize, local);
        local
    }

    fn compare(&mut self, attribute: u32, comparison: &Comparison) -> Truth {
        let reading = self.reading(attribute);
        let source = &self.set.predicates.attributes[attribute as usize].source;
        let Scratch { roles, text, .. } = &mut *self.scratch;
        let text = match comparison {
            Comparison::Text(_) => source.read(&self.asked, text).and_then(Raw::text),
            _ => None,
        };
        match comparison.holds(reading, roles, text) {
            Ok(holds) => Truth::known(holds),
            Err(cause) => Truth::unknown(attribute, cause),
        }
    }

    /// Each attribute is looked up at most once.
    fn reading(&mut self, attribute: u32) -> Reading {
        if let Some(reading) = self.scratch.readings.get(attribute as usize) {
            return reading;
        }
        let predicates = &self.set.predicates;
        let source = &predicates.attributes[attribute as usize].source;
        let reading = if self.facts_are_stale && matches!(source, Source::Fact(_)) {
            Reading::Stale
        } else {
            Reading::of(source.read(&self.asked, &mut self.scratch.text).as_ref(), &predicates.texts)
        };
        self.scratch.readings.set(attribute as usize, reading);
        reading
    }
}

/// P14: facts hold for a minute.
fn is_stale(facts: &Facts, now: Timestamp) -> bool {
    now.duration_since(facts.observed_at).abs() > SignedDuration::from_secs(FACTS_AGE_SECONDS_MAX.into())
}
