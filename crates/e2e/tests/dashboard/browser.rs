//! A headless Chromium, driven by its DevTools protocol over a pipe (`--remote-debugging-pipe`): no port that others
//! could reach, and nothing between.
//!
//! Source: Chrome DevTools Protocol; messages are JSON, each ended by a zero byte.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Longest that one command, or one wait, may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A browser with one page. Dropping it ends it.
pub(crate) struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last: u64,
    /// What the page's session has told, other than answers.
    pub(crate) events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// Which program it is; `None`: there is none here.
pub(crate) fn program() -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().find(|name| {
        Command::new("sh")
            .args(["-c", "command -v \"$0\"", name])
            .output()
            .is_ok_and(|it| it.status.success())
    });
    found.map(|name| (*name).to_owned())
}

impl Browser {
    /// One with a window of this size; `media` are its features, as `("prefers-color-scheme", "dark")`.
    pub(crate) fn start(width: u32, height: u32, media: &[(&str, &str)]) -> Self {
        let profile = tempfile::tempdir().expect("a temporary directory");
        // The pipe is descriptors 3 and 4 of the browser.
        let script = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", script, &program().expect("chromium: see scripts/install-components")])
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-extensions", "--disable-dev-shm-usage", "--mute-audio"])
            .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium starts");
        let commands = child.stdin.take().expect("piped");
        let mut pipe = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while pipe.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let read = serde_json::from_slice(&message).unwrap_or_default();
                if sender.send(read).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            commands,
            messages,
            session: String::new(),
            last: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached =
            browser.call("Target.attachToTarget", json!({"targetId": page["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Network", "Log", "Performance", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
        browser.media(media);
        browser
    }

    /// Sets features of the medium.
    pub(crate) fn media(&mut self, features: &[(&str, &str)]) {
        let features: Vec<_> =
            features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Carries out a command, and gives its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("the browser reads");
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut message =
                self.messages.recv_timeout(left).unwrap_or_else(|_| panic!("{method}: no answer"));
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
            if message.get("id").is_none() {
                self.events.push(message);
            }
        }
    }

    /// What an expression of the page comes to; a promise is waited for.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + LIMIT;
        while self.evaluate(&format!("Boolean({expression})")) != true {
            if Instant::now() >= deadline {
                let text = self.evaluate("document.body.innerText.slice(0, 2000)");
                panic!("{expression} is not so:\n{text}\n{:#?}", self.complaints());
            }
            // A frame of the page's own.
            self.evaluate("new Promise(done => setTimeout(done, 20))");
        }
    }

    /// Opens an address.
    pub(crate) fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({"url": address}));
    }

    /// Presses keys, one after the other: letters, or names as `Tab`.
    pub(crate) fn press(&mut self, keys: &[&str]) {
        for key in keys {
            let code = match *key {
                "Tab" => 9,
                "Enter" => 13,
                "Escape" => 27,
                "ArrowLeft" => 37,
                "ArrowRight" => 39,
                "ArrowDown" => 40,
                _ => 0,
            };
            let mut down = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code});
            match *key {
                "Enter" => down["text"] = "\r".into(),
                one if one.chars().count() == 1 => down["text"] = one.into(),
                _ => {}
            }
            self.call("Input.dispatchKeyEvent", down);
            let up = json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", up);
        }
    }

    /// Types a text where the focus is.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Has a picture of the page written to a file below `BOWLINE_SCREENSHOTS`, if that is set, else to a temporary
    /// directory; gives its size in bytes.
    pub(crate) fn picture(&mut self, name: &str) -> u64 {
        // What is on its way is drawn first.
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let directory = std::env::var_os("BOWLINE_SCREENSHOTS")
            .map_or_else(|| std::env::temp_dir().join("bowline-dashboard"), Into::into);
        std::fs::create_dir_all(&directory).expect("the directory can be made");
        let bytes = decoded(picture["data"].as_str().expect("a picture"));
        std::fs::write(directory.join(format!("{name}.png")), &bytes).expect("it can be written");
        bytes.len() as u64
    }

    /// What the page, or the browser about it, complains of.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        let is_complaint = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => {
                matches!(event["params"]["type"].as_str(), Some("error" | "warning"))
            }
            "Log.entryAdded" => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        self.events.iter().filter(is_complaint).collect()
    }

    /// Addresses that were asked for.
    pub(crate) fn requests(&self) -> Vec<&str> {
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }

    /// What is offered to those who do not see: role and name of each thing.
    pub(crate) fn accessible(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let shown = nodes.iter().filter(|node| node["ignored"] != true);
        shown.map(|node| (text(&node["role"]), text(&node["name"]))).collect()
    }

    /// Milliseconds of the processor that scripts of the page take, by call, in the time that `meanwhile` takes. What else
    /// the machine does meanwhile does not count.
    pub(crate) fn scripting(&mut self, meanwhile: impl FnOnce(&mut Self)) -> Vec<f64> {
        let config = json!({"includedCategories": ["devtools.timeline"], "excludedCategories": ["*"]});
        self.call("Tracing.start", json!({"traceConfig": config, "transferMode": "ReportEvents"}));
        meanwhile(self);
        self.call("Tracing.end", json!({}));
        while !self.events.iter().any(|event| event["method"] == "Tracing.tracingComplete") {
            self.evaluate("0");
        }
        let told = self.events.iter().filter(|event| event["method"] == "Tracing.dataCollected");
        let traced: Vec<&Value> =
            told.flat_map(|event| event["params"]["value"].as_array()).flatten().collect();
        let number = |event: &Value, name: &str| event[name].as_f64();
        let mut calls: Vec<_> = traced.into_iter().filter(|event| event["name"] == "FunctionCall").collect();
        calls.sort_by(|a, b| {
            number(a, "ts").unwrap_or_default().total_cmp(&number(b, "ts").unwrap_or_default())
        });
        // A call within another one is part of it.
        let mut end = 0.0;
        let outer = calls.into_iter().filter(|event| {
            let (begins, lasts) =
                (number(event, "ts").unwrap_or_default(), number(event, "dur").unwrap_or_default());
            let is_outer = begins >= end;
            if is_outer {
                end = begins + lasts;
            }
            is_outer
        });
        outer
            .filter_map(|event| number(event, "tdur").or_else(|| number(event, "dur")))
            .map(|it| it / 1e3)
            .collect()
    }

    /// A counter of the browser's, as `ScriptDuration`, in seconds.
    pub(crate) fn counter(&mut self, name: &str) -> f64 {
        let metrics = self.call("Performance.getMetrics", json!({}));
        let metrics = metrics["metrics"].as_array().cloned().unwrap_or_default();
        let found = metrics.iter().find(|metric| metric["name"] == name);
        found.and_then(|metric| metric["value"].as_f64()).unwrap_or_else(|| panic!("no {name}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Base 64, decoded.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').collect();
    let mut bytes = Vec::with_capacity(digits.len());
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | digit(*byte)) << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
