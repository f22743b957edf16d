//! Settings of the data API that a project's own database makes: they hold at once, for the data API alone.

use std::sync::{Arc, Mutex};

use common::{Configured, Directory, DirectoryError, Finding, Project, ProjectRef, RestSettings};
use serde_json::{Value, json};

use crate::world::{Shelf, World, now, project, show, token};

/// A directory whose projects say more about their data API in their own databases.
#[derive(Debug)]
struct Configuring {
    shelf: Arc<Shelf>,
    rest: Mutex<Result<RestSettings, ()>>,
}

impl Directory for Configuring {
    fn find<'a>(&'a self, reference: &'a ProjectRef) -> Finding<'a> {
        self.shelf.find(reference)
    }

    fn configured<'a>(&'a self, project: &'a Arc<Project>) -> Configured<'a> {
        let rest = self.rest.lock().unwrap().clone();
        Configured::Asked(Box::pin(async {
            let rest = rest.map_err(|()| DirectoryError("connection refused".into()))?;
            Ok(Arc::new(Project { rest, ..(**project).clone() }))
        }))
    }
}

#[tokio::test]
async fn what_a_project_s_database_says_counts_for_its_data_api_at_once() {
    let shelf = Arc::new(Shelf::default());
    shelf.put(project("default", 1));
    let rest = Mutex::new(Ok(RestSettings::default()));
    let directory = Arc::new(Configuring { shelf, rest });
    let world = World::of(Arc::clone(&directory) as Arc<dyn Directory>).await;
    let project = directory.shelf.get("default");
    let token = token(&project, &json!({ "role": "member", "aud": "us", "app": "boss", "exp": now() + 60 }));
    let ask = async || {
        let request = world.get("/rest/v1/x").bearer_auth(&token).header("origin", "https://a.example");
        let answer = request.send().await.unwrap();
        let origin = answer.headers().get("access-control-allow-origin").cloned();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (
            status,
            body["caller"]["role"].as_str().map(str::to_owned),
            origin.map(|it| it.to_str().unwrap().to_owned()),
        )
    };
    let any = Some("*".to_owned());
    assert_eq!(ask().await, (200, Some("member".into()), any.clone()));
    let change = |change: fn(&mut RestSettings)| {
        let mut settings = RestSettings::default();
        change(&mut settings);
        *directory.rest.lock().unwrap() = Ok(settings);
    };
    // The token was verified a moment ago, under other rules.
    change(|it| it.jwt_role_claim_key = "$.app".into());
    assert_eq!(ask().await, (200, Some("boss".into()), any.clone()));
    change(|it| it.jwt_aud = Some("them".into()));
    assert_eq!(ask().await, (401, None, any));
    change(|it| it.server_cors_allowed_origins = vec!["https://b.example".into()]);
    assert_eq!(ask().await, (200, Some("member".into()), None));
    *directory.rest.lock().unwrap() = Err(());
    let answer = world.get("/rest/v1/x").send().await.unwrap();
    insta::assert_snapshot!(show(answer, &["retry-after", "proxy-status"]).await, @r#"
    503
    retry-after: 1
    proxy-status: PostgREST; error=PGRST002
    {"code":"PGRST002","details":null,"hint":null,"message":"Could not query the database for the schema cache. Retrying."}
    "#);
    // Auth does not care.
    assert_eq!(world.get("/auth/v1/x").send().await.unwrap().status(), 200);
}
