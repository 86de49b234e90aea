{{/* What is to be in containerd's files on the nodes, and where the proxy is for them. */}}

{{- define "lighterage.configure.url" -}}
{{- $address := .Values.nodes.configure.address -}}
{{- if $address -}}
{{ ternary $address (printf "%s://%s" (include "lighterage.clients.url" . | regexFind "^[a-z]+") $address) (contains "://" $address) }}
{{- else -}}
{{ include "lighterage.clients.url" . }}
{{- end -}}
{{- end -}}

{{/* The upstreams with what their files are made of: no login is needed for them. */}}
{{- define "lighterage.configure.settings" -}}
{{- $upstreams := dict -}}
{{- range $name, $upstream := include "lighterage.upstreams" . | fromYaml -}}
{{- $_ := set $upstreams $name (pick $upstream "url" "default" "aliases" "prefix") -}}
{{- end -}}
{{ toYaml (dict "upstreams" $upstreams) }}
{{- end -}}

{{/* The command without its last word, which says what to do. */}}
{{- define "lighterage.configure.command" -}}
- /opt/lighterage/bin/lighterage
- client-config
- containerd
- --config=/etc/lighterage/nodes.yaml
- {{ printf "--address=%s" (include "lighterage.configure.url" .) | quote }}
- --write=/
- --as={{ include "lighterage.namespace" . }}/{{ include "lighterage.fullname" . }}
{{- end -}}
