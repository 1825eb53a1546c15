//! Every way a signed request is refused.

use thiserror::Error;

macro_rules! refusals {
    ($($variant:ident $code:literal $sentence:literal)*) => {
        /// Why a signed request is refused.
        ///
        /// The code is for metrics and the audit log; callers learn only that the signature is invalid, and
        /// the server's time where [`Refusal::is_time`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
        pub enum Refusal {
            $(
                #[doc = $sentence]
                #[error($sentence)]
                $variant,
            )*
        }

        impl Refusal {
            /// Every refusal there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable code of this refusal.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }
        }
    };
}

refusals! {
    SignatureMissing "signature-missing" "Signature or Signature-Input is missing."
    SignatureMalformed "signature-malformed" "Signature or Signature-Input is not in its canonical form."
    HeaderDoubled "header-doubled" "A header of the profile is sent more than once."
    LabelWrong "label-wrong" "There is not exactly one signature, or it is not labelled aegis."
    ComponentMissing "component-missing" "A component that the profile requires is not covered."
    ComponentExtra "component-extra" "A component that is not in the profile or not in the request is covered."
    ComponentDoubled "component-doubled" "A component is covered twice."
    ComponentParameter "component-parameter" "A covered component has parameters."
    ParameterMissing "parameter-missing" "One of created, expires, nonce and keyid is missing."
    ParameterExtra "parameter-extra" "The signature has a parameter that is not in the profile."
    ParameterMalformed "parameter-malformed" "A parameter of the signature has the wrong type or an impossible value."
    NonceMalformed "nonce-malformed" "The nonce is not 16 to 128 visible ASCII characters."
    TagWrong "tag-wrong" "The tag is not aegis."
    RequestMalformed "request-malformed" "Method, authority, path, query or Idempotency-Key is not plain visible ASCII."
    DigestMissing "digest-missing" "Content-Digest is missing or has no sha-256."
    DigestMalformed "digest-malformed" "Content-Digest is not in its canonical form."
    DigestMismatch "digest-mismatch" "Content-Digest is not of this body."
    AuthorityMismatch "authority-mismatch" "The request is addressed to another authority."
    LifetimeTooLong "lifetime-too-long" "The signature expires more than 300 seconds after it was created."
    LifetimeReversed "lifetime-reversed" "The signature does not expire after it was created."
    KeyUnknown "key-unknown" "No key has this id."
    KeyRevoked "key-revoked" "The key was revoked."
    KeyExpired "key-expired" "The time of the key is over."
    ClientDisabled "client-disabled" "The client was disabled."
    ClientExpired "client-expired" "The time of the client is over."
    AlgorithmMismatch "algorithm-mismatch" "The signature names another algorithm than its key has."
    SignatureWrong "signature-wrong" "The signature is not of this request by that key."
    CreatedInFuture "created-in-future" "The signature was created more than 5 seconds ahead of this clock."
    Expired "expired" "The signature has expired."
}

impl Refusal {
    /// Whether it is about time, so that the answer carries the server's.
    pub const fn is_time(self) -> bool {
        matches!(self, Self::CreatedInFuture | Self::Expired | Self::LifetimeTooLong | Self::LifetimeReversed)
    }
}
