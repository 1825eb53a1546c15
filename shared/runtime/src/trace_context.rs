//! W3C Trace Context (level 1): one trace id from the first request to the executor's receipt.

use std::fmt;

use http::HeaderMap;

use crate::clock;

/// Header that carries a [`TraceContext`].
pub const TRACEPARENT: &str = "traceparent";

/// The ids of one hop: `00-<trace id>-<span id>-<flags>` (section 3.2 of the recommendation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// The context a request came with, or a new one when it came with none or a broken one.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok())
            .and_then(Self::parse)
            .unwrap_or_else(Self::start)
    }

    /// A context kept as text, or a new one when the text is broken.
    pub fn from_text(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(Self::start)
    }

    /// The first hop of a new trace, sampled.
    pub fn start() -> Self {
        Self { trace_id: clock::random_bytes(), span_id: clock::random_bytes(), flags: 1 }
    }

    /// The next hop of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: clock::random_bytes(), ..self }
    }

    /// The trace id as 32 lower-case hex digits.
    pub fn trace_id(&self) -> String {
        hex(&self.trace_id)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = unhex::<1>(version)?;
        // Version ff is forbidden; version 00 has exactly four parts, later ones may have more.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace_id, span_id) = (unhex::<16>(trace_id)?, unhex::<8>(span_id)?);
        let [flags] = unhex::<1>(flags)?;
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self { trace_id, span_id, flags })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex(&self.trace_id), hex(&self.span_id), self.flags)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * N || !text.bytes().all(lower_hex) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_keeps_the_trace_and_the_published_example_reads_back() {
        // The example of section 3.2.2.
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::parse(text).unwrap();
        assert_eq!(context.to_string(), text);
        assert_eq!(context.child().trace_id(), context.trace_id());
        assert_ne!(context.child(), context);
    }

    #[test]
    fn a_broken_header_starts_a_new_trace() {
        for text in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
