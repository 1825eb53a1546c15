//! The secrets of one stack, generated, each in a file of its own.

use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{KeyPair, PKCS_ED25519};

use crate::paths::{create_private, random, write_private};

/// The id of the order key that control plane and executor share.
pub(super) const ORDER_KEY_ID: &str = "local-1";

/// A folder only we may enter.
#[derive(Debug)]
pub(super) struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    pub(super) fn generate(folder: &Path) -> Result<Self> {
        create_private(folder)?;
        let secrets = Self { folder: folder.to_owned() };
        for name in ["master-key", "jwt-secret", "order-key"] {
            secrets.write(name, &BASE64_STANDARD.encode(random::<32>()))?;
        }
        secrets.write("order-key-id", ORDER_KEY_ID)?;
        // Empty until a test changes the one that it belongs to.
        for name in ["jwt-secret-previous", "order-key-previous", "order-key-previous-id"] {
            secrets.write(name, "")?;
        }
        let receipt_key = KeyPair::generate_for(&PKCS_ED25519)?;
        secrets.write("receipt-key.pem", &receipt_key.serialize_pem())?;
        secrets.write("receipt-key.pub", &receipt_key.public_key_pem())?;
        Ok(secrets)
    }

    pub(super) fn write(&self, name: &str, value: &str) -> Result<()> {
        write_private(&self.path(name), value)
    }

    /// The bytes of a secret that was generated here.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        Ok(BASE64_STANDARD.decode(std::fs::read(self.path(name))?)?)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
