// Talks to the server of app.py. All text from models and files is set as text, never as HTML.
"use strict";
const $ = id => document.getElementById(id);
let clips = [], duration = 1, answers = [];

function made(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

async function call(path, options) {
  const reply = await fetch(path, options);
  const body = await reply.json();
  if (!reply.ok) throw new Error(typeof body.detail === "string" ? body.detail : "the server did not take the question");
  return body;
}

function say(text) { $("status").textContent = text; }

async function load(chosen) {
  clips = (await call("/clips")).clips;
  $("clip").replaceChildren(...clips.map(clip => Object.assign(made("option", clip.title), {value: clip.name})));
  if (chosen && clips.some(clip => clip.name === chosen)) $("clip").value = chosen;
  if (clips.length) await show();
}

async function show() {
  answers = [];
  draw();
  const clip = clips.find(clip => clip.name === $("clip").value);
  $("suggestions").replaceChildren(...clip.queries.map(([query, there]) => {
    const button = made("button", `${query} (${there ? "it happens" : "it does not"})`);
    button.onclick = () => { $("query").value = query; ask(); };
    return button;
  }));
  const strip = await call(`/frames/${encodeURIComponent(clip.name)}`);
  duration = strip.duration;
  $("frames").replaceChildren(...strip.frames.map(frame => {
    const figure = made("figure");
    figure.append(Object.assign(made("img"), {src: frame.picture, alt: ""}), made("figcaption", `${frame.second.toFixed(0)} s`));
    return figure;
  }));
}

async function ask() {
  const clip = $("clip").value, query = $("query").value.trim();
  if (!clip || !query) return;
  $("ask").disabled = true;
  answers = [];
  draw();
  say("The models are looking …");
  try {
    answers = await call("/ask", {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({clip, query}),
    });
    say("");
    history.replaceState(null, "", `?${new URLSearchParams({clip, query})}`);
  } catch (error) { say(error.message); }
  $("ask").disabled = false;
  draw();
}

// What an answer is under the threshold: a refusal above it, the segment that the model has or would have below it.
function decided(answer, limit) {
  const own = {refused: answer.verdict === "refuses", span: answer.verdict === "grounds" ? answer.spans[0] : null};
  if (answer.refusal_probability === null) return own;
  if (answer.refusal_probability > limit) return {refused: true, span: answer.segment_if_asked, unused: true};
  return answer.segment_if_asked ? {refused: false, span: answer.segment_if_asked} : own;
}

function draw() {
  const limit = Number($("threshold").value);
  $("limit").textContent = limit.toFixed(2);
  $("answers").replaceChildren(...answers.map(answer => {
    const {refused, span, unused} = decided(answer, limit), article = made("article", undefined, refused ? "refused" : "found");
    const words = refused ? "refuses" : span ? `${span[0]} to ${span[1]} s` : "gives neither a segment nor a refusal";
    article.append(made("h3", answer.model), made("p", words, "verdict"));
    const track = made("div", undefined, unused ? "track unused" : "track");
    if (span) {
      const bar = made("i");
      const [start, end] = span.map(second => 100 * Math.min(second / duration, 1));
      bar.style.left = `${start}%`;
      bar.style.width = `${Math.max(end - start, 0.5)}%`;
      track.append(bar);
    }
    article.append(track);
    if (unused && span) article.append(made("p", `If it had to: ${span[0]} to ${span[1]} s (dashed).`, "hint"));
    if (refused && answer.verdict === "refuses") {
      article.append(made("p", answer.answer));
      if (answer.correction && answer.correction !== "NIL") {
        const button = made("button", `Ask instead: ${answer.correction}`);
        button.onclick = () => { $("query").value = answer.correction; ask(); };
        article.append(button);
      }
    } else if (refused) article.append(made("p", "It named a segment, but is less sure than the threshold asks, and gave no reason.", "hint"));
    if (answer.refusal_probability !== null) {
      const line = made("p", "Its probability of refusing: ", "hint");
      line.append(Object.assign(made("meter"), {value: answer.refusal_probability, ariaLabel: "probability of refusing"}),
        ` ${answer.refusal_probability.toFixed(2)}`);
      article.append(line);
    }
    if (answer.note) article.append(made("p", answer.note, "hint"));
    const details = made("details");
    details.append(made("summary", "What it wrote"), made("p", answer.completion));
    article.append(details);
    return article;
  }));
}

async function upload(file) {
  say(`Reading ${file.name} …`);
  try {
    const {name} = await call(`/upload?${new URLSearchParams({title: file.name})}`, {method: "POST", body: file});
    await load(name);
    say("");
  } catch (error) { say(error.message); }
}

$("form").onsubmit = event => { event.preventDefault(); ask(); };
$("clip").onchange = () => show().catch(error => say(error.message));
$("file").onchange = () => $("file").files.length && upload($("file").files[0]);
$("threshold").oninput = draw;
const wanted = new URLSearchParams(location.search);
load(wanted.get("clip")).then(() => {
  if (wanted.get("query")) { $("query").value = wanted.get("query"); return ask(); }
}).catch(error => say(error.message));
