//! The identity provider as the settings name it.

use reqwest::{Certificate, Url};

/// What is known of the provider before it is asked anything.
pub struct ProviderSettings {
    /// Its issuer identifier, exactly as its tokens have it.
    pub issuer: String,
    /// What it calls this control plane.
    pub client_id: String,
    /// What it is asked for, separated by spaces.
    pub scopes: String,
    /// The claim that roles are read from.
    pub roles_claim: String,
    /// Who vouches for it, in place of who vouches for the rest of the world; empty: the system's authorities.
    pub authorities: Vec<Certificate>,
    /// Where it sends people back to.
    pub redirect_uri: String,
}

/// Reads an address that people or secrets go to: https, or http on this machine; neither query nor fragment, nor
/// anybody's name and password.
///
/// # Errors
/// What is wrong with it, for people.
pub fn read_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("is no URL: {error}"))?;
    let is_encrypted = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    if !is_encrypted {
        return Err("must start with https:// (or be http:// on a loopback address)".to_owned());
    }
    let is_plain = url.username().is_empty() && url.password().is_none();
    if !is_plain || url.query().is_some() || url.fragment().is_some() {
        return Err("must have no name, password, query or fragment".to_owned());
    }
    Ok(url)
}

/// Whether a URL names this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_secrets_go_to_encrypted_addresses_or_stay_on_this_machine() {
        for url in [
            "https://id.example.com",
            "https://id.example.com/realms/x",
            "http://127.0.0.1:1",
            "http://[::1]:1",
        ] {
            assert!(read_url(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "id.example.com",
            "http://id.example.com",
            "http://127.0.0.1.example.com",
            "ftp://id.example.com",
            "https://a:b@id.example.com",
            "https://id.example.com/?x",
            "https://id.example.com/#x",
        ] {
            assert!(read_url(url).is_err(), "{url}");
        }
    }
}
