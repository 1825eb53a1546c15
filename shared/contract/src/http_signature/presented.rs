//! Reading and verifying a signed request.

use jiff::Timestamp;
use sfv::{BareItem, Dictionary, InnerList, Item, ListEntry, Parameters, Parser};

use super::base::{Component, ComponentValues, plain_value, signature_base, single_header};
use super::content_digest::{check, is_canonical};
use super::{
    CREATED_AHEAD_MAX, LABEL, LIFETIME_MAX, NONCE_LENGTH_MAX, NONCE_LENGTH_MIN, Refusal, Request, SIGNATURE,
    SIGNATURE_INPUT, VerifyingKey, normalise_authority,
};
use crate::key::check_key_id;
use crate::strict::base64_decode;

/// A request that presents a signature; nothing about it is proven.
#[derive(Debug, Clone)]
pub struct Presented {
    key_id: String,
    /// What the request claims, or what is already wrong with it. The fault waits here so that a refusal can
    /// be filed under the key id.
    claims: Result<Claims, Refusal>,
}

/// A request whose signature is right, in time, and meant for this authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The key that signed.
    pub key_id: String,
    /// Used once per key; the caller keeps it until `expires` and a while longer.
    pub nonce: String,
    /// When the client says it signed.
    pub created: Timestamp,
    /// Until when the signature is good.
    pub expires: Timestamp,
}

#[derive(Debug, Clone)]
struct Claims {
    authority: String,
    /// What a signature with these components and parameters has signed.
    base: String,
    signature: Vec<u8>,
    algorithm: Option<String>,
    nonce: String,
    created: Timestamp,
    expires: Timestamp,
}

/// Reads the signature that a request presents.
///
/// An error means that not even the key id can be told. Every other fault is told by
/// [`Presented::verify`]; a request is proven only by its answer.
pub fn parse(request: &Request<'_>) -> Result<Presented, Refusal> {
    let input = profile_header(request, &SIGNATURE_INPUT)?;
    let signature = profile_header(request, &SIGNATURE)?;
    let Some(ListEntry::InnerList(covered)) = only_member(input)? else {
        return Err(Refusal::SignatureMalformed);
    };
    let Some(ListEntry::Item(Item { params, .. })) = only_member(signature)? else {
        return Err(Refusal::SignatureMalformed);
    };
    if !params.is_empty() {
        return Err(Refusal::SignatureMalformed);
    }
    let key_id = text_parameter(&covered.params, "keyid")?.ok_or(Refusal::ParameterMissing)?.to_owned();
    check_key_id(&key_id).map_err(|_| Refusal::ParameterMalformed)?;
    Ok(Presented { key_id, claims: Claims::read(request, &covered, input, signature) })
}

impl Presented {
    /// The id of the key that is said to have signed. For looking up the key, and for filing a refusal.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The text that the signature has to be of, if the request is in the profile. For explaining a refusal.
    pub fn signature_base(&self) -> Result<&str, Refusal> {
        self.claims.as_ref().map(|claims| claims.base.as_str()).map_err(|refusal| *refusal)
    }

    /// Whether what is presented is this key's signature of `text`, which need not be the text it has to be of. For
    /// explaining a refusal.
    pub fn is_signed_as(&self, text: &str, key: &VerifyingKey) -> bool {
        self.claims.as_ref().is_ok_and(|claims| key.accepts(text, &claims.signature))
    }

    /// Proves the request: in the profile, body as digested, for one of `authorities`, signed by `key`, in time.
    ///
    /// Time is judged after the signature: only the holder of the key learns about clocks.
    pub fn verify(
        &self,
        key: &VerifyingKey,
        now: Timestamp,
        authorities: &[String],
    ) -> Result<Verified, Refusal> {
        let claims = self.claims.as_ref().map_err(|refusal| *refusal)?;
        if !authorities.iter().any(|name| normalise_authority(name) == claims.authority) {
            return Err(Refusal::AuthorityMismatch);
        }
        if claims.algorithm.as_ref().is_some_and(|name| name != key.algorithm().name()) {
            return Err(Refusal::AlgorithmMismatch);
        }
        if !key.accepts(&claims.base, &claims.signature) {
            return Err(Refusal::SignatureWrong);
        }
        check_time(claims.created, claims.expires, now)?;
        Ok(Verified {
            key_id: self.key_id.clone(),
            nonce: claims.nonce.clone(),
            created: claims.created,
            expires: claims.expires,
        })
    }
}

impl Claims {
    fn read(
        request: &Request<'_>,
        covered: &InnerList,
        input: &str,
        signature: &str,
    ) -> Result<Self, Refusal> {
        check_parameter_names(&covered.params)?;
        let nonce = text_parameter(&covered.params, "nonce")?.ok_or(Refusal::ParameterMissing)?;
        check_nonce(nonce)?;
        if text_parameter(&covered.params, "tag")? != Some(LABEL) {
            return Err(Refusal::TagWrong);
        }
        let created = time_parameter(&covered.params, "created")?;
        let expires = time_parameter(&covered.params, "expires")?;

        let values = ComponentValues::of_signed(request)?;
        let components = covered_components(&covered.items, &values)?;
        check(&values.content_digest, request.body)?;
        let lines = components
            .iter()
            .map(|component| (component.name(), values.value(*component).expect("covered, hence present")));
        let params = member_text(input).ok_or(Refusal::SignatureMalformed)?;
        Ok(Self {
            base: signature_base(lines, params),
            signature: signature_bytes(signature)?,
            algorithm: text_parameter(&covered.params, "alg")?.map(str::to_owned),
            nonce: nonce.to_owned(),
            created,
            expires,
            authority: values.authority,
        })
    }
}

pub(super) fn check_nonce(nonce: &str) -> Result<(), Refusal> {
    let fits = (NONCE_LENGTH_MIN..=NONCE_LENGTH_MAX).contains(&nonce.len())
        && nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(Refusal::NonceMalformed) }
}

fn check_time(created: Timestamp, expires: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    let lifetime = created.duration_until(expires);
    if lifetime > LIFETIME_MAX {
        return Err(Refusal::LifetimeTooLong);
    }
    if !lifetime.is_positive() {
        return Err(Refusal::LifetimeReversed);
    }
    if now.duration_until(created) > CREATED_AHEAD_MAX {
        return Err(Refusal::CreatedInFuture);
    }
    if now > expires {
        return Err(Refusal::Expired);
    }
    Ok(())
}

/// Accepts exactly the components that the request's own signature would cover, in any order.
fn covered_components(items: &[Item], values: &ComponentValues) -> Result<Vec<Component>, Refusal> {
    let mut components = Vec::with_capacity(items.len());
    for Item { bare_item, params } in items {
        let BareItem::String(name) = bare_item else { return Err(Refusal::SignatureMalformed) };
        if !params.is_empty() {
            return Err(Refusal::ComponentParameter);
        }
        let component = values
            .components()
            .find(|component| component.name() == name.as_str())
            .ok_or(Refusal::ComponentExtra)?;
        if components.contains(&component) {
            return Err(Refusal::ComponentDoubled);
        }
        components.push(component);
    }
    if values.components().count() != components.len() {
        return Err(Refusal::ComponentMissing);
    }
    Ok(components)
}

fn check_parameter_names(params: &Parameters) -> Result<(), Refusal> {
    const NAMES: [&str; 6] = ["created", "expires", "nonce", "keyid", "tag", "alg"];
    let all_known = params.keys().all(|name| NAMES.contains(&name.as_str()));
    if all_known { Ok(()) } else { Err(Refusal::ParameterExtra) }
}

fn text_parameter<'p>(params: &'p Parameters, name: &str) -> Result<Option<&'p str>, Refusal> {
    match params.get(name) {
        None => Ok(None),
        Some(BareItem::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Refusal::ParameterMalformed),
    }
}

fn time_parameter(params: &Parameters, name: &str) -> Result<Timestamp, Refusal> {
    match params.get(name) {
        None => Err(Refusal::ParameterMissing),
        Some(BareItem::Integer(seconds)) => {
            Timestamp::from_second((*seconds).into()).map_err(|_| Refusal::ParameterMalformed)
        }
        Some(_) => Err(Refusal::ParameterMalformed),
    }
}

fn profile_header<'r>(request: &Request<'r>, name: &http::HeaderName) -> Result<&'r str, Refusal> {
    let value = single_header(request.headers, name)?.ok_or(Refusal::SignatureMissing)?;
    plain_value(value).ok_or(Refusal::SignatureMalformed)
}

/// The member labelled `aegis` of a dictionary that has no other.
fn only_member(value: &str) -> Result<Option<ListEntry>, Refusal> {
    let mut dictionary: Dictionary = Parser::new(value).parse().map_err(|_| Refusal::SignatureMalformed)?;
    if dictionary.len() != 1 || !dictionary.contains_key(LABEL) {
        return Err(Refusal::LabelWrong);
    }
    if !is_canonical(&dictionary, value) {
        return Err(Refusal::SignatureMalformed);
    }
    Ok(dictionary.pop().map(|(_, member)| member))
}

/// The text of the only member, which in a canonical dictionary is everything after its label.
fn member_text(value: &str) -> Option<&str> {
    value.strip_prefix(LABEL)?.strip_prefix('=')
}

fn signature_bytes(value: &str) -> Result<Vec<u8>, Refusal> {
    let text = member_text(value)
        .and_then(|text| text.strip_prefix(':'))
        .and_then(|text| text.strip_suffix(':'))
        .ok_or(Refusal::SignatureMalformed)?;
    base64_decode(text).map_err(|_| Refusal::SignatureMalformed)
}
