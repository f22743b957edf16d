//! The catalog as JSON in the shape of PostgREST's admin server (`/schema_cache`), for people who look for a mistake. Maps
//! are lists of pairs there. What this catalog does not keep (comments, enums, lengths) is left out.

use serde_json::{Value, json};

use super::links::Key;
use super::{Catalog, Function, Link, Name, Relationship, Table, Volatility};

impl Catalog {
    /// All that is known; sorted, so that two of them can be compared.
    pub(crate) fn dump(&self) -> Value {
        json!({
            "dbTables": sorted(self.schemas.values().flat_map(|it| it.tables.values()).map(|it| {
                json!([name(&it.name), table(it)])
            })),
            "dbRelationships": sorted(self.schemas.values().flat_map(|it| it.relationships.values()).filter_map(
                |them| {
                    let origin = &them.first()?.origin;
                    let them: Vec<_> = them.iter().map(|it| self.relationship(it)).collect();
                    Some(json!([[name(origin), origin.schema], them]))
                }
            )),
            "dbRoutines": sorted(self.schemas.values().flat_map(|it| it.functions.values()).filter_map(|them| {
                Some(json!([name(&them.first()?.name), them.iter().map(function).collect::<Vec<_>>()]))
            })),
            "dbRepresentations": sorted(self.representations.iter().flat_map(|(source, targets)| {
                targets.iter().map(move |(target, function)| {
                    json!([[source, target], { "drSourceType": source, "drTargetType": target,
                        "drFunction": function.as_str() }])
                })
            })),
            "dbMediaHandlers": sorted(self.handlers.iter().flat_map(|(relation, them)| {
                let relation = relation.as_ref().map_or(json!({ "tag": "RelAnyElement" }), |it| {
                    json!({ "tag": "RelId", "contents": name(it) })
                });
                them.iter().map(move |(media, it)| {
                    json!([[relation, media.essence()], [name(&it.function), it.media.essence()]])
                })
            })),
            // Ours: what the code in the database does with settings.
            "dbUses": { "readsRequest": self.uses.request, "setsResponse": self.uses.response,
                "setsAny": self.uses.sets },
        })
    }

    fn relationship(&self, it: &Relationship) -> Value {
        let cardinality = match &it.link {
            Link::Function { function, to_one } => {
                return json!({ "tag": "ComputedRelationship", "relFunction": name(function),
                    "relTable": name(&it.origin), "relForeignTable": name(&it.target),
                    "relToOne": to_one, "relIsSelf": it.is_self });
            }
            Link::OneToMany(key) => by_key("O2M", key),
            Link::ManyToOne(key) => by_key("M2O", key),
            Link::OneToOne(key) => by_key("O2O", key),
            Link::ManyToMany(it) => json!({ "tag": "M2M", "contents": { "junTable": name(&it.table),
                "junConstraint1": it.source_constraint, "junConstraint2": it.target_constraint,
                "junColsSource": it.source, "junColsTarget": it.target } }),
        };
        let is_view = self.find_table(&it.origin.schema, &it.origin.name).is_some_and(|it| it.is_view);
        json!({ "tag": "Relationship", "relTable": name(&it.origin), "relForeignTable": name(&it.target),
            "relIsSelf": it.is_self, "relCardinality": cardinality,
            "relTableIsView": is_view, "relFTableIsView": it.target_is_view })
    }
}

fn sorted(values: impl Iterator<Item = Value>) -> Value {
    let mut values: Vec<_> = values.map(|it| (it.to_string(), it)).collect();
    values.sort_by(|(one, _), (other, _)| one.cmp(other));
    values.into_iter().map(|(_, it)| it).collect()
}

fn name(it: &Name) -> Value {
    json!({ "qiName": it.name, "qiSchema": it.schema })
}

fn by_key(tag: &str, key: &Key) -> Value {
    json!({ "tag": tag, "relCons": key.constraint, "relColumns": key.columns })
}

fn table(it: &Table) -> Value {
    let columns = it.columns.values().map(|it| {
        let column = json!({ "colName": it.name, "colType": it.base_type.as_str(),
            "colNominalType": it.declared_type.as_str(),
            "colDefault": it.default.as_ref().map(|it| it.as_str()) });
        (it.name.clone(), column)
    });
    json!({ "tableSchema": it.name.schema, "tableName": it.name.name, "tableIsView": it.is_view,
        "tableInsertable": it.is_insertable(), "tableUpdatable": it.is_updatable(),
        "tableDeletable": it.is_deletable(), "tablePKCols": it.primary_key,
        "tableColumns": columns.collect::<serde_json::Map<_, _>>() })
}

fn function(it: &Function) -> Value {
    let parameters = it.parameters.iter().map(|it| {
        json!({ "ppName": it.name, "ppType": it.type_name.as_str(), "ppTypeMaxLength": it.cast.as_str(),
            "ppReq": it.required, "ppVar": it.variadic })
    });
    let of = if it.returns.composite { "Composite" } else { "Scalar" };
    let returns = json!({ "tag": of, "contents": name(&it.returns.name) });
    let volatility = match it.volatility {
        Volatility::Immutable => "Immutable",
        Volatility::Stable => "Stable",
        Volatility::Volatile => "Volatile",
    };
    let settings = it.settings.iter().filter_map(|it| it.split_once('='));
    json!({ "pdSchema": it.name.schema, "pdName": it.name.name, "pdParams": parameters.collect::<Vec<_>>(),
        "pdReturnType": { "tag": if it.returns.set { "SetOf" } else { "Single" }, "contents": returns },
        "pdVolatility": volatility, "pdHasVariadic": it.parameters.iter().any(|it| it.variadic),
        "pdFuncSettings": settings.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use crate::catalog::sample;

    #[test]
    fn tables_relationships_and_functions_are_told() {
        let dump = sample::catalog().dump();
        let people =
            &dump["dbTables"].as_array().unwrap().iter().find(|it| it[0]["qiName"] == "people").unwrap()[1];
        assert_eq!(people["tablePKCols"], serde_json::json!(["id"]));
        let of_people = dump["dbRelationships"].as_array().unwrap().iter();
        let of_people =
            of_people.map(|it| it.to_string()).find(|it| it.starts_with(r#"[[{"qiName":"people""#)).unwrap();
        for part in [
            r#""tag":"M2O""#,
            r#""tag":"M2M""#,
            r#""relForeignTable":{"qiName":"teams","qiSchema":"public"}"#,
        ] {
            assert!(of_people.contains(part), "{part}: {of_people}");
        }
        assert!(dump["dbRoutines"].to_string().contains(r#""pdName":"older_than""#));
    }
}
