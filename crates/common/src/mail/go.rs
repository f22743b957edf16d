//! Go's template syntax, as Supabase's templates use it, in minijinja's: `{{ .Data.name }}`, `{{ if .X }}`, `{{ else }}`,
//! `{{ end }}`. What is minijinja's already passes; anything else of Go is refused, not guessed.

use super::TemplateError;

/// `template` in minijinja's syntax.
pub(super) fn translate(template: &str) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(template.len());
    let mut open = 0_usize;
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((action, after)) = after.split_once("}}") else {
            return Err(TemplateError("an action is not closed by }}".to_owned()));
        };
        rest = after;
        let trims_before = action.starts_with("- ");
        let trims_after = action.ends_with(" -");
        let action = action.trim_start_matches('-').trim_end_matches('-').trim();
        let (left, right) = (if trims_before { "-" } else { "" }, if trims_after { "-" } else { "" });
        match statement(action, &mut open)? {
            Some(statement) => out.push_str(&format!("{{%{left} {statement} {right}%}}")),
            None => out.push_str(&format!("{{{{{left} {} {right}}}}}", value(action)?)),
        }
    }
    if open > 0 {
        return Err(TemplateError("an {{ if }} has no {{ end }}".to_owned()));
    }
    out.push_str(rest);
    Ok(out)
}

fn statement(action: &str, open: &mut usize) -> Result<Option<String>, TemplateError> {
    let word = action.split_whitespace().next().unwrap_or_default();
    let condition = |text: &str| condition(text.trim());
    Ok(Some(match word {
        "if" => {
            *open += 1;
            format!("if {}", condition(action.strip_prefix("if").unwrap_or_default())?)
        }
        "else" => match action.strip_prefix("else").unwrap_or_default().trim().strip_prefix("if ") {
            Some(text) => format!("elif {}", condition(text)?),
            None => "else".to_owned(),
        },
        "end" => {
            *open =
                open.checked_sub(1).ok_or_else(|| TemplateError("an {{ end }} ends nothing".to_owned()))?;
            "endif".to_owned()
        }
        "range" | "with" | "template" | "define" | "block" | "break" | "continue" => {
            return Err(TemplateError(format!("{{{{ {word} }}}} is not supported")));
        }
        _ => return Ok(None),
    }))
}

fn condition(text: &str) -> Result<String, TemplateError> {
    if let Some(rest) = text.strip_prefix("not ") {
        return Ok(format!("not ({})", condition(rest.trim())?));
    }
    for (go, jinja) in [("eq ", "=="), ("ne ", "!=")] {
        if let Some((left, right)) = text.strip_prefix(go).and_then(|it| it.trim().split_once(' ')) {
            return Ok(format!("{} {jinja} {}", value(left)?, value(right.trim())?));
        }
    }
    value(text)
}

/// A field (`.Data.name`) or what is minijinja's own.
fn value(text: &str) -> Result<String, TemplateError> {
    let Some(field) = text.strip_prefix('.') else { return Ok(text.to_owned()) };
    let plain = |it: &str| !it.is_empty() && it.chars().all(|it| it.is_alphanumeric() || it == '_');
    if field.split('.').all(plain) {
        Ok(field.to_owned())
    } else {
        Err(TemplateError(format!("{text} is no field")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_conditions_become_minijinja() {
        let cases = [
            ("a {{ .Token }} b", "a {{ Token }} b"),
            ("{{.Data.first_name}}", "{{ Data.first_name }}"),
            ("{{- .Token -}}", "{{- Token -}}"),
            (
                "{{ if eq .Data.lang \"de\" }}x{{ else if not .Email }}y{{ else }}z{{ end }}",
                "{% if Data.lang == \"de\" %}x{% elif not (Email) %}y{% else %}z{% endif %}",
            ),
            ("{{ token }}", "{{ token }}"),
        ];
        for (go, jinja) in cases {
            assert_eq!(translate(go).as_deref(), Ok(jinja), "{go}");
        }
    }
}
