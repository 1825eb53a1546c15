//! Finds lines and columns: walks the text of a document once and notes where pointers lead.

use std::collections::BTreeMap;

use super::{Problem, code};

/// Sets line and column of every problem, and sorts them by place. A pointer to something that is missing gets the place of
/// the innermost value around it that is there.
///
/// `bytes` must be JSON that the strict reader has accepted: it bounds the depth of the walk.
pub(super) fn locate(bytes: &[u8], problems: &mut [Problem]) {
    let mut wanted: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for problem in &*problems {
        let mut pointer = problem.pointer.as_str();
        wanted.insert(pointer.to_owned(), None);
        while let Some(slash) = pointer.rfind('/') {
            pointer = &pointer[..slash];
            wanted.insert(pointer.to_owned(), None);
        }
    }
    let mut walk = Walk { bytes, at: 0, pointer: String::new(), wanted };
    walk.value();
    let offsets = walk.wanted;
    let lines = line_starts(bytes);
    for problem in problems.iter_mut() {
        let mut pointer = problem.pointer.as_str();
        let offset = loop {
            match (offsets.get(pointer), pointer.rfind('/')) {
                (Some(Some(offset)), _) => break *offset,
                (_, Some(slash)) => pointer = &pointer[..slash],
                (_, None) => break 0,
            }
        };
        let line = lines.partition_point(|start| *start <= offset);
        problem.line = Some(line);
        problem.column = Some(offset - lines[line - 1] + 1);
    }
    // The remark that there are more is not about a place; it stays last.
    problems.sort_by_key(|problem| (problem.code == code::TOO_MANY_PROBLEMS, problem.line, problem.column));
}

fn line_starts(bytes: &[u8]) -> Vec<usize> {
    let breaks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    std::iter::once(0).chain(breaks).collect()
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    pointer: String,
    wanted: BTreeMap<String, Option<usize>>,
}

impl Walk<'_> {
    fn peek(&mut self) -> u8 {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied().unwrap_or_default()
    }

    fn note(&mut self) {
        if let Some(offset @ None) = self.wanted.get_mut(&self.pointer) {
            *offset = Some(self.at);
        }
    }

    fn value(&mut self) {
        let first = self.peek();
        self.note();
        match first {
            b'{' => self.members(b'}', true),
            b'[' => self.members(b']', false),
            b'"' => {
                self.text();
            }
            _ => {
                while self.bytes.get(self.at).is_some_and(|byte| !b",]} \t\r\n".contains(byte)) {
                    self.at += 1;
                }
            }
        }
    }

    fn members(&mut self, end: u8, named: bool) {
        self.at += 1;
        let length = self.pointer.len();
        let mut index = 0;
        while self.peek() != end && self.at < self.bytes.len() {
            if named {
                let start = self.at;
                let name = self.text();
                self.pointer.push('/');
                self.pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                // A member is where its name stands: that is what a misspelt field needs.
                let after_name = std::mem::replace(&mut self.at, start);
                self.note();
                self.at = after_name;
                self.peek();
                self.at += 1;
            } else {
                self.pointer.push_str(&format!("/{index}"));
                index += 1;
            }
            self.value();
            self.pointer.truncate(length);
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    /// Passes over a string and answers with what it says.
    fn text(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while self.bytes.get(self.at).is_some_and(|byte| *byte != b'"') {
            self.at += if self.bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.bytes.len());
        serde_json::from_slice(&self.bytes[start..self.at]).unwrap_or_default()
    }
}
