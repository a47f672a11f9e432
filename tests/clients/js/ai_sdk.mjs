// The Vercel AI SDK with its Google provider.
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { generateText, streamText, tool } from "ai";
import { z } from "zod";
import { generating, play, refusals, target } from "./cases.mjs";

function connect(model = "gemini-2-5-flash", apiKey = target.tokens.good) {
  return createGoogleGenerativeAI({ baseURL: `${target.url}/ai-gateway/gemini/v1beta`, apiKey })(model);
}

// It tries three times by itself, which a test need not wait for.
const request = { model: connect(), prompt: "What is a gateway?", maxRetries: 0 };

async function text() {
  const answer = await generateText(request);
  return { text: answer.text, finish_reason: answer.finishReason, total_tokens: answer.usage.totalTokens };
}

async function stream() {
  const answer = streamText(request);
  const pieces = [];
  for await (const piece of answer.textStream) pieces.push(piece);
  return {
    text: pieces.join(""),
    chunks: pieces.length,
    finish_reason: await answer.finishReason,
    total_tokens: (await answer.usage).totalTokens,
  };
}

async function tools() {
  const current_weather = tool({
    description: "The weather in a city right now.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `rain in ${city}`,
  });
  const answer = await generateText({ ...request, prompt: "What's the weather?", tools: { current_weather } });
  return answer.toolResults.map((result) => result.output);
}

async function textRefused(refusal, token) {
  const model = connect(refusal.model, token);
  return (await generateText({ model, prompt: refusal.prompt, maxRetries: 0 })).text;
}

// streamText hands its errors to onError and ends the stream as if nothing had been.
async function streamRefused(refusal, token) {
  let failure;
  const answer = streamText({
    model: connect(refusal.model, token),
    prompt: refusal.prompt,
    maxRetries: 0,
    onError: ({ error }) => {
      failure = error;
    },
  });
  for await (const _ of answer.textStream);
  if (failure) throw failure;
}

await play({
  text,
  stream,
  tools,
  ...refusals("refused", textRefused, generating),
  ...refusals("refused_stream", streamRefused, generating),
});
