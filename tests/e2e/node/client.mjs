// What the official Node client does against a running platform; prints one JSON line.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 2 });
const messages = [{ role: "user", content: "What is Dormouse?" }];
const chat = { model: "dormouse-chat", messages, temperature: 0, max_tokens: 24 };

const plain = await client.chat.completions.create(chat);
const stream = await client.chat.completions.create({
  ...chat,
  stream: true,
  stream_options: { include_usage: true },
});
let streamed = "";
let usage = null;
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
const text = await client.completions.create({
  model: "dormouse-chat",
  prompt: "Dormouse is",
  max_tokens: 5,
});
const vectors = await client.embeddings.create({ model: "all-minilm-l6-v2", input: ["a", "b"] });
const models = await client.models.list();
const one = await client.models.retrieve("dormouse-chat");

const errors = {};
const attempt = async (name, call) => {
  try {
    await call();
    errors[name] = null;
  } catch (error) {
    errors[name] = [error.constructor.name, error.status, error.code];
  }
};
await attempt("key", () =>
  new OpenAI({ baseURL, apiKey: "dm_" + "x".repeat(43) }).chat.completions.create(chat),
);
await attempt("model", () => client.chat.completions.create({ ...chat, model: "no-such-model" }));
await attempt("field", () => client.chat.completions.create({ ...chat, temperature: 9 }));

console.log(
  JSON.stringify({
    plain: plain.choices[0].message.content,
    plainUsage: plain.usage,
    streamed,
    streamedUsage: usage,
    text: text.choices[0].text,
    dimensions: vectors.data.map((found) => found.embedding.length),
    models: models.data.map((found) => found.id),
    one: one.id,
    errors,
  }),
);
