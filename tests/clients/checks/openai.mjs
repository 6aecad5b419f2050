// OpenAI's JavaScript library: node openai.mjs BASE_URL MODEL
import OpenAI from 'openai';

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'none', timeout: 120000, maxRetries: 0 });
const messages = [{ role: 'user', content: 'Say hello.' }];
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ type: 'function', function: { name: 'get_weather', parameters } }];
const question = [{ role: 'user', content: 'What is the weather in Paris?' }];

function check(holds, what) {
  if (!holds) throw new Error(what);
}

const whole = await client.chat.completions.create({ model, messages, max_tokens: 24 });
check(whole.choices[0].message.content && whole.usage.total_tokens, 'a whole answer');
const streamed = await client.chat.completions.stream({ model, messages, max_tokens: 24 }).finalChatCompletion();
check(streamed.choices[0].message.content, 'a streamed answer');
const called = await client.chat.completions
  .stream({ model, messages: question, tools, tool_choice: 'required', max_tokens: 128 })
  .finalChatCompletion();
check('city' in JSON.parse(called.choices[0].message.tool_calls[0].function.arguments), 'a tool call');
const answer = await client.responses.create({ model, input: 'Say hello.', max_output_tokens: 24 });
check(answer.output_text, 'a response');
let last = '';
for await (const event of await client.responses.create({ model, input: 'Say hello.', stream: true, max_output_tokens: 24 })) {
  last = event.type;
}
check(['response.completed', 'response.incomplete'].includes(last), `a streamed response, not ${last}`);
console.log('all is well');
