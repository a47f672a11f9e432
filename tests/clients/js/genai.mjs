// @google/genai for JavaScript.
import { GoogleGenAI } from "@google/genai";
import { generating, play, refusals, target } from "./cases.mjs";

const model = "gemini-2-5-flash";
const contents = "What is a gateway?";

function connect(token = target.tokens.good, path = "/ai-gateway/gemini") {
  return new GoogleGenAI({ apiKey: token, httpOptions: { baseUrl: target.url + path } }).models;
}

async function told(chunks) {
  let text = "";
  let count = 0;
  let last;
  for await (last of chunks) {
    text += last.text ?? "";
    count += 1;
  }
  return {
    text,
    chunks: count,
    model_version: last.modelVersion,
    finish_reason: last.candidates[0].finishReason,
    total_tokens: last.usageMetadata.totalTokenCount,
  };
}

const current_weather = {
  name: "current_weather",
  description: "The weather in a city right now.",
  parametersJsonSchema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

async function tools() {
  const config = { tools: [{ functionDeclarations: [current_weather] }] };
  const answer = await connect().generateContent({ model, contents: "What's the weather in Lisbon?", config });
  return answer.functionCalls;
}

function generate(refusal, token) {
  const request = { model: refusal.model, contents: refusal.prompt };
  return refusal.counts_tokens ? connect(token).countTokens(request) : connect(token).generateContent(request);
}

async function stream(refusal, token) {
  return told(await connect(token).generateContentStream({ model: refusal.model, contents: refusal.prompt }));
}

await play({
  text: async () => told([await connect().generateContent({ model, contents })]),
  stream: async () => told(await connect().generateContentStream({ model, contents })),
  trailing_slash: async () =>
    told([await connect(undefined, "/ai-gateway/gemini/").generateContent({ model, contents })]),
  short_path: async () => told(await connect(undefined, "/v1/gemini").generateContentStream({ model, contents })),
  tools,
  ...refusals("refused", generate),
  ...refusals("refused_stream", stream, generating),
});
