//! A project's people switch features of its data API on by SQL, as on Supabase, without a restart.

use reqwest::StatusCode;
use serde_json::Value;

use crate::server::{Home, until};

#[tokio::test]
async fn the_owner_switches_features_of_the_data_api_on_while_it_runs() {
    let server = Home::new().start();
    let create = "create table tasks (id int primary key, done bool);
        insert into tasks values (1, true), (2, false), (3, true)";
    let owner = server.owner(create).await;
    let client = reqwest::Client::new();
    let counted = || client.get(server.url("/rest/v1/tasks?select=done,count()&order=done"));
    let listed = || client.get(server.url("/rest/v1/tasks?select=id&order=id"));
    server.until_ok(listed).await;
    assert_eq!(server.service(counted()).send().await.unwrap().status(), StatusCode::BAD_REQUEST);

    let switch = "alter role authenticator set pgrst.db_aggregates_enabled = 'true';
        alter role authenticator set pgrst.db_max_rows = '2';
        alter role authenticator set pgrst.server_timing_enabled = 'true';
        notify pgrst, 'reload config'";
    owner.batch_execute(switch).await.unwrap();
    let answer = server.until_ok(counted).await;
    assert!(answer.headers().contains_key("server-timing"));
    let groups: Value = answer.json().await.unwrap();
    assert_eq!(groups, serde_json::json!([{ "done": false, "count": 1 }, { "done": true, "count": 2 }]));
    let rows: Vec<Value> = server.service(listed()).send().await.unwrap().json().await.unwrap();
    assert_eq!(rows.len(), 2);

    let reset = "alter role authenticator reset pgrst.db_aggregates_enabled; notify pgrst, 'reload config'";
    owner.batch_execute(reset).await.unwrap();
    until("aggregates are off again", async || {
        server.service(counted()).send().await.unwrap().status() == StatusCode::BAD_REQUEST
    })
    .await;
    server.stop().await;
}
