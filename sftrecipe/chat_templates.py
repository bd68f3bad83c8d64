"""Chat templates that come with the project, as Jinja source in our own words; the control tokens are those of the
models they are named for.

| name   | control tokens                                                        | end of an answer | tools |
|--------|-----------------------------------------------------------------------|------------------|-------|
| chatml | <|im_start|> <|im_end|>                                               | <|im_end|>       | yes   |
| llama3 | <|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|>    | <|eot_id|>       | yes   |
| zephyr | none of its own (`<|user|>` is plain text)                            | EOS              | no    |
| vicuna | none                                                                  | EOS              | no    |
| alpaca | none                                                                  | EOS              | no    |

Each marks what the assistant says, the end of the answer included, with `{% generation %}`, so that a loss mask is
exact. None adds a system text that the row does not have: the customary ones of Vicuna and Alpaca are given with
`system:` where they are wanted.

Reasoning stands before the answer, between <think> and </think>. chatml knows `enable_thinking`: true writes a block in
every answer; false leaves reasoning out and puts an empty block before the answer, outside the loss; left out, there is
a block where there is reasoning. The others have no words for reasoning: `sftrecipe.chat` writes it into the content,
unless `enable_thinking` is false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BUILT_IN", "BuiltIn"]


@dataclass(frozen=True)
class BuiltIn:
    """A template. `tokens`: what a tokenizer must know as one token each. `bos`, `eos`: stand in where no tokenizer
    says."""

    source: str
    tokens: tuple[str, ...] = ()
    bos: str = ""
    eos: str = ""


_CHATML = r"""
{%- if tools %}
  {{- "<|im_start|>system\n" }}
  {%- if messages[0].role in ("system", "developer") %}{{- messages[0].content ~ "\n\n" }}{% endif %}
  {{- "You can call functions. Each line describes one in JSON:\n" }}
  {%- for tool in tools %}{{- (tool | tojson) ~ "\n" }}{% endfor %}
  {{- "To call one, write its name and arguments in JSON between <tool_call> and </tool_call>.<|im_end|>\n" }}
{%- endif %}
{%- set skip = "<think>\n\n</think>\n\n" if enable_thinking is defined and not enable_thinking else "" %}
{%- for message in messages %}
  {%- if message.role == "assistant" %}
    {{- "<|im_start|>assistant\n" ~ skip }}
    {%- generation %}
      {%- if not skip and (message.reasoning or enable_thinking is defined) %}
        {{- "<think>\n" ~ (message.reasoning or "") ~ "\n</think>\n\n" }}
      {%- endif %}
      {{- message.content }}
      {%- for call in message.tool_calls or [] %}
        {{- "\n" if message.content or not loop.first }}
        {%- set said = {"name": call.function.name, "arguments": call.function.arguments} %}
        {{- "<tool_call>\n" ~ (said | tojson) ~ "\n</tool_call>" }}
      {%- endfor %}
      {{- "<|im_end|>" }}
    {%- endgeneration %}
    {{- "\n" }}
  {%- elif not (tools and loop.first and message.role in ("system", "developer")) %}
    {{- "<|im_start|>" ~ message.role ~ "\n" ~ message.content ~ "<|im_end|>\n" }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\n" ~ skip }}{% endif %}
"""

_LLAMA3 = r"""
{{- "<|begin_of_text|>" }}
{%- set head = "<|start_header_id|>%s<|end_header_id|>\n\n" %}
{%- if tools %}
  {{- head | format("system") }}
  {%- if messages[0].role in ("system", "developer") %}{{- (messages[0].content | trim) ~ "\n\n" }}{% endif %}
  {{- "You can call functions. Each line describes one in JSON:\n" }}
  {%- for tool in tools %}{{- (tool | tojson) ~ "\n" }}{% endfor %}
  {{- "To call one, answer with its name and parameters in JSON.<|eot_id|>" }}
{%- endif %}
{%- for message in messages %}
  {%- if message.role == "assistant" %}
    {{- head | format("assistant") }}
    {%- generation %}
      {{- message.content | trim }}
      {%- for call in message.tool_calls or [] %}
        {{- "\n" if message.content or not loop.first }}
        {{- {"name": call.function.name, "parameters": call.function.arguments} | tojson }}
      {%- endfor %}
      {{- "<|eot_id|>" }}
    {%- endgeneration %}
  {%- elif not (tools and loop.first and message.role in ("system", "developer")) %}
    {{- head | format({"tool": "ipython", "developer": "system"}.get(message.role, message.role)) }}
    {{- (message.content | trim) ~ "<|eot_id|>" }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- head | format("assistant") }}{% endif %}
"""

_NO_TOOLS = r"""
{%- if tools %}{{- raise_exception("this template has no words for tools") }}{% endif %}
{%- for message in messages %}
  {%- if message.tool_calls or message.role not in ("system", "developer", "user", "assistant") %}
    {{- raise_exception("this template has no words for a turn of `" ~ message.role ~ "` with tools") }}
  {%- endif %}
{%- endfor %}
{{- bos_token }}
"""

_ZEPHYR = (
    _NO_TOOLS
    + r"""
{%- for message in messages %}
  {%- if message.role == "assistant" %}
    {{- "<|assistant|>\n" }}
    {%- generation %}{{- message.content ~ eos_token }}{% endgeneration %}
  {%- else %}
    {{- ("<|user|>\n" if message.role == "user" else "<|system|>\n") ~ message.content ~ eos_token }}
  {%- endif %}
  {{- "\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|assistant|>\n" }}{% endif %}
"""
)

_VICUNA = (
    _NO_TOOLS
    + r"""
{%- for message in messages %}
  {%- if message.role == "assistant" %}
    {{- "ASSISTANT:" }}
    {%- generation %}{{- " " ~ message.content ~ eos_token }}{% endgeneration %}
  {%- elif message.role == "user" %}
    {{- "USER: " ~ message.content ~ " " }}
  {%- else %}
    {{- message.content ~ " " }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "ASSISTANT:" }}{% endif %}
"""
)

_ALPACA = (
    _NO_TOOLS
    + r"""
{%- for message in messages %}
  {%- if message.role == "assistant" %}
    {{- "### Response:\n" }}
    {%- generation %}{{- message.content ~ eos_token }}{% endgeneration %}
    {{- "\n\n" if not loop.last }}
  {%- elif message.role == "user" %}
    {{- "### Instruction:\n" ~ message.content ~ "\n\n" }}
  {%- else %}
    {{- message.content ~ "\n\n" }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "### Response:\n" }}{% endif %}
"""
)

BUILT_IN: Mapping[str, BuiltIn] = {
    "chatml": BuiltIn(_CHATML, ("<|im_start|>", "<|im_end|>"), eos="<|im_end|>"),
    "llama3": BuiltIn(
        _LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>",
        "<|eot_id|>",
    ),
    "zephyr": BuiltIn(_ZEPHYR, eos="</s>"),
    "vicuna": BuiltIn(_VICUNA, eos="</s>"),
    "alpaca": BuiltIn(_ALPACA, eos="</s>"),
}
