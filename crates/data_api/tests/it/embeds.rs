//! Embedding: every kind of relationship, hints, inner joins, spreads, filters and orders inside.

use insta::assert_snapshot;

use crate::support::{ask, body};

fn check(path: &str) -> String {
    let answer = ask(&format!("GET {path}"), "");
    if answer.starts_with("200") { body(&answer).to_owned() } else { answer }
}

#[test]
fn every_kind_of_relationship_embeds() {
    assert_snapshot!(check("/people?select=name,teams(name)&id=lt.3&order=id"), @r#"
    [{"name":"Ada","teams":{"name": "red"}}, 
     {"name":"Bob","teams":{"name": "red"}}]
    "#);
    assert_snapshot!(check("/teams?select=name,people(name)&order=id"), @r#"
    [{"name":"red","people":[{"name": "Ada"}, {"name": "Bob"}]}, 
     {"name":"blue","people":[{"name": "Cleo, \"C\""}]}, 
     {"name":"empty","people":[]}]
    "#);
    assert_snapshot!(check("/people?select=name,skills(name)&id=eq.1"), @r#"[{"name":"Ada","skills":[{"name": "logic"}, {"name": "music"}]}]"#);
    assert_snapshot!(check("/people?select=name,desks(place)&order=id&limit=2"), @r#"
    [{"name":"Ada","desks":{"place": "north"}}, 
     {"name":"Bob","desks":null}]
    "#);
    assert_snapshot!(check("/people?select=name,boss:manager_id(name),staff:people(name)&id=in.(1,3)&order=id"), @r#"
    [{"name":"Ada","boss":null,"staff":[{"name": "Bob"}, {"name": "Cleo, \"C\""}]}, 
     {"name":"Cleo, \"C\"","boss":{"name": "Ada"},"staff":[{"name": "Dan"}]}]
    "#);
    assert_snapshot!(check("/people?select=name,peers(name)&id=eq.1"), @r#"[{"name":"Ada","peers":[{"name": "Bob"}]}]"#);
    assert_snapshot!(check("/adults?select=name,teams(name)&id=eq.1"), @r#"[{"name":"Ada","teams":{"name": "red"}}]"#);
}

#[test]
fn embeds_nest_three_levels_deep() {
    assert_snapshot!(check("/teams?select=name,people(name,boss:manager_id(name,skills(name)))&id=eq.1"), @r#"[{"name":"red","people":[{"boss": null, "name": "Ada"}, {"boss": {"name": "Ada", "skills": [{"name": "logic"}, {"name": "music"}]}, "name": "Bob"}]}]"#);
}

#[test]
fn parameters_reach_into_embeds() {
    assert_snapshot!(check("/teams?select=name,people(name)&people.age=gt.20&order=id"), @r#"
    [{"name":"red","people":[{"name": "Ada"}]}, 
     {"name":"blue","people":[]}, 
     {"name":"empty","people":[]}]
    "#);
    assert_snapshot!(check("/teams?select=name,people!inner(name)&people.age=gt.20"), @r#"[{"name":"red","people":[{"name": "Ada"}]}]"#);
    assert_snapshot!(check("/teams?select=name,people()&people=is.null"), @r#"[{"name":"empty"}]"#);
    assert_snapshot!(check("/teams?select=name,p:people(id)&p.order=id.desc&p.limit=1&order=id"), @r#"
    [{"name":"red","p":[{"id": 2}]}, 
     {"name":"blue","p":[{"id": 3}]}, 
     {"name":"empty","p":[]}]
    "#);
    assert_snapshot!(check("/people?select=name,teams(name)&order=teams(name).desc.nullslast,id"), @r#"
    [{"name":"Ada","teams":{"name": "red"}}, 
     {"name":"Bob","teams":{"name": "red"}}, 
     {"name":"Cleo, \"C\"","teams":{"name": "blue"}}, 
     {"name":"Dan","teams":null}]
    "#);
    assert_snapshot!(check("/teams?select=name,people(name)&people.or=(age.lt.18,name.like.Z*)&id=eq.1"), @r#"[{"name":"red","people":[{"name": "Bob"}]}]"#);
}

#[test]
fn inner_embeds_are_counted() {
    let answer = ask("GET /teams?select=name,people!inner(name)&people.age=gt.20\nPrefer: count=exact", "");
    assert!(answer.contains("content-range: 0-0/1"), "{answer}");
}

#[test]
fn spreads_lift_columns_into_the_parent() {
    assert_snapshot!(check("/people?select=name,...teams(team:name)&order=id"), @r#"
    [{"name":"Ada","team":"red"}, 
     {"name":"Bob","team":"red"}, 
     {"name":"Cleo, \"C\"","team":"blue"}, 
     {"name":"Dan","team":null}]
    "#);
    assert_snapshot!(check("/teams?select=name,...people(ids:id,name)&people.order=id.desc&order=id"), @r#"
    [{"name":"red","ids":[2, 1],"name":["Bob", "Ada"]}, 
     {"name":"blue","ids":[3],"name":["Cleo, \"C\""]}, 
     {"name":"empty","ids":[],"name":[]}]
    "#);
}

#[test]
fn several_relationships_ask_for_a_hint() {
    assert_snapshot!(check("/orders?select=id,people(name)"), @r#"
    300

    {"code":"PGRST201","details":[{"cardinality":"many-to-one","embedding":"orders with people","relationship":"orders_billing_id_fkey using orders(billing_id) and people(id)"},{"cardinality":"many-to-one","embedding":"orders with people","relationship":"orders_shipping_id_fkey using orders(shipping_id) and people(id)"}],"hint":"Try changing 'people' to one of the following: 'people!orders_billing_id_fkey', 'people!orders_shipping_id_fkey'. Find the desired relationship in the 'details' key.","message":"Could not embed because more than one relationship was found for 'orders' and 'people'"}
    "#);
    assert_snapshot!(check("/orders?select=id,billing:people!billing_id(name),people!orders_shipping_id_fkey(name)&order=id"), @r#"
    [{"id":1,"billing":{"name": "Ada"},"people":{"name": "Bob"}}, 
     {"id":2,"billing":{"name": "Cleo, \"C\""},"people":{"name": "Cleo, \"C\""}}]
    "#);
    assert_snapshot!(check("/orders?select=id,people!orders_billing_id_fkey(name),people!orders_shipping_id_fkey(name)"), @r#"
    400

    {"code":"42712","details":null,"hint":null,"message":"table name \"orders_people_1\" specified more than once"}
    "#);
}

#[test]
fn mistakes_in_embeds_are_explained() {
    assert_snapshot!(check("/people?select=name,team(name)"), @r#"
    400

    {"code":"PGRST200","details":"Searched for a foreign key relationship between 'people' and 'team' in the schema 'public', but no matches were found.","hint":"Perhaps you meant 'teams' instead of 'team'.","message":"Could not find a relationship between 'people' and 'team' in the schema cache"}
    "#);
    assert_snapshot!(check("/teams?select=name&people.age=gt.1"), @r#"
    400

    {"code":"PGRST108","details":null,"hint":"Verify that 'people' is included in the 'select' query parameter.","message":"'people' is not an embedded resource in this request"}
    "#);
    assert_snapshot!(check("/teams?select=name,people(name)&order=people(name)"), @r#"
    400

    {"code":"PGRST118","details":"'teams' and 'people' do not form a many-to-one or one-to-one relationship","hint":null,"message":"A related order on 'people' is not possible"}
    "#);
}
