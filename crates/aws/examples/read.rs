//! Reads templates and prints the stack: `read FILE… [-- KEY=VALUE…]`.

use bowline_aws::cfn::{Inputs, Template};

fn main() {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    let mut inputs = Inputs::default();
    if let Some(at) = files.iter().position(|arg| arg == "--") {
        let values = files.split_off(at);
        let values = values.iter().skip(1).filter_map(|value| value.split_once('='));
        inputs.parameters = values.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    }
    let texts: Vec<(String, String)> = files
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
                eprintln!("{file}: {error}");
                std::process::exit(1)
            });
            (file, text)
        })
        .collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    match Template::parse_many(&texts).and_then(|template| template.resolve(&inputs)) {
        Ok(stack) => {
            eprint!("{}", stack.warnings);
            for resource in &stack.resources {
                println!("{}", serde_json::to_string_pretty(resource).expect("a resource is plain data"));
            }
            for output in &stack.outputs {
                println!("{} = {}", output.name, output.value);
            }
        }
        Err(diagnostics) => {
            eprint!("{diagnostics}");
            std::process::exit(1);
        }
    }
}
