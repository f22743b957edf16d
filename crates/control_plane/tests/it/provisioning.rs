//! What a new project's database holds, and what its logins can and cannot do.

use testkit::{project, run};

#[test]
fn a_new_project_has_every_schema_with_its_owner() {
    run(async {
        let it = project("schemas").await;
        let rows = it
            .admin()
            .await
            .query(
                "select nspname::text, pg_get_userbyid(nspowner)::text from pg_namespace \
                 where nspname in ('auth', 'storage', 'realtime', 'extensions', 'graphql_public') order by 1",
                &[],
            )
            .await
            .unwrap();
        let found: Vec<(String, String)> = rows.iter().map(|it| (it.get(0), it.get(1))).collect();
        let names: Vec<&str> = found.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(names, ["auth", "extensions", "graphql_public", "realtime", "storage"]);
        assert_eq!(found[0].1, "supabase_auth_admin");
        assert_eq!(found[4].1, "supabase_storage_admin");
    });
}
