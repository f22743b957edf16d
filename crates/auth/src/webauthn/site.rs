//! Which domain keys belong to and where they may be used: from the settings, else from `site_url`.

use common::AuthSettings;
use url::Url;

use crate::Error;

/// What browsers are told about a project.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) origins: Vec<Url>,
}

/// The site of a project.
pub(super) fn of(settings: &AuthSettings) -> Result<Site, Error> {
    let site = Url::parse(&settings.site_url).map_err(Error::internal)?;
    let id = match &settings.webauthn_rp_id {
        Some(id) => id.clone(),
        None => site.host_str().ok_or_else(|| Error::internal("site_url has no host"))?.to_owned(),
    };
    let name = settings.webauthn_rp_name.clone().unwrap_or_else(|| id.clone());
    let origins = if settings.webauthn_rp_origins.is_empty() {
        vec![site]
    } else {
        let origins = settings.webauthn_rp_origins.iter().map(|it| Url::parse(it));
        origins.collect::<Result<_, _>>().map_err(Error::internal)?
    };
    Ok(Site { id, name, origins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_known_by_its_address_unless_told_otherwise() {
        let mut settings = AuthSettings::default();
        let site = of(&settings).unwrap();
        assert_eq!((site.id.as_str(), site.name.as_str()), ("localhost", "localhost"));
        assert_eq!(site.origins, [Url::parse("http://localhost:3000").unwrap()]);
        settings.webauthn_rp_id = Some("example.com".into());
        settings.webauthn_rp_name = Some("Board".into());
        settings.webauthn_rp_origins = vec!["https://a.example.com".into()];
        let site = of(&settings).unwrap();
        assert_eq!((site.id.as_str(), site.name.as_str(), site.origins.len()), ("example.com", "Board", 1));
    }
}
