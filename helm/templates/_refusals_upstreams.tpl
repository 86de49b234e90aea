{{/* What would not work with upstreams and logins for them: a list of sentences. */}}

{{- define "lighterage.refuse.upstreams" -}}
{{- $values := .Values -}}
{{- $config := $values.config | default dict -}}
{{- $upstreams := $config.upstreams | default dict -}}
{{- $lent := keys ($values.credentials | default dict) -}}
{{- $messages := list -}}

{{- $defaults := list -}}
{{- range $name, $upstream := $upstreams }}{{ if $upstream.default }}{{ $defaults = append $defaults $name }}{{ end }}{{ end -}}
{{- if and $upstreams (not $defaults) -}}
{{- $messages = append $messages "config.upstreams: none is for images that name no registry, such as library/alpine. Say default: true in one of them, docker.io as a rule." -}}
{{- else if gt (len $defaults) 1 -}}
{{- $messages = append $messages (printf "config.upstreams: %s have default: true, and only one can be for images that name no registry. Remove it from the others." ($defaults | sortAlpha | join " and ")) -}}
{{- end -}}

{{- $seen := dict -}}
{{- range $name, $upstream := $upstreams -}}
{{- range $known := prepend ($upstream.aliases | default list) $name -}}
{{- if not (regexMatch "^[a-z0-9]+([._/-]+[a-z0-9]+)*(:[0-9]+)?$" $known) -}}
{{- $messages = append $messages (printf "config.upstreams: %s is no name for an upstream. Take the registry's host, as it stands in the names of images, such as quay.io; where it is goes into url." $known) -}}
{{- end -}}
{{- if hasKey $seen $known -}}
{{- $messages = append $messages (printf "config.upstreams: %s is a name or an alias of both %s and %s. Remove it from one of them." $known (get $seen $known) $name) -}}
{{- end -}}
{{- $_ := set $seen $known $name -}}
{{- end -}}
{{- range $place := prepend ($upstream.mirrors | default list) $upstream -}}
{{- with $place.credentials -}}
{{- $lent = append $lent $name -}}
{{- if hasKey . "password" -}}
{{- $messages = append $messages (printf "config.upstreams.%s has a password: a ConfigMap is not for secrets. Put it into a Secret, and name that in credentials.%s.existingSecret." $name $name) -}}
{{- else if ne 1 (len (compact (list .password_file .token_file .docker_config_file))) -}}
{{- $messages = append $messages (printf "config.upstreams.%s.credentials: say one of password_file, token_file and docker_config_file; or leave it away, and name a Secret in credentials.%s.existingSecret." $name $name) -}}
{{- else if and .password_file (not .username) -}}
{{- $messages = append $messages (printf "config.upstreams.%s.credentials: a password needs a username." $name) -}}
{{- else if and .docker_config_file .username -}}
{{- $messages = append $messages (printf "config.upstreams.%s.credentials: docker_config_file has the username in it. Remove one of them." $name) -}}
{{- end -}}
{{- end -}}
{{- if contains "@" ($place.proxy | default "") -}}
{{- $messages = append $messages (printf "config.upstreams.%s has a proxy with a password in it: a ConfigMap is not for secrets. Put the proxy's URL into a Secret, and take it from there with extraEnv: {name: LIGHTERAGE_UPSTREAMS__%s__PROXY, valueFrom: {secretKeyRef: …}}." $name (upper $name)) -}}
{{- end -}}
{{- if ne (empty $place.certificate_file) (empty $place.key_file) -}}
{{- $messages = append $messages (printf "config.upstreams.%s: certificate_file and key_file belong together. Set both." $name) -}}
{{- end -}}
{{- if and $place.certificate_file (hasPrefix "http:" $place.url) -}}
{{- $messages = append $messages (printf "config.upstreams.%s: certificate_file needs a url that begins with https://." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $name, $login := $values.credentials -}}
{{- if not (or (hasKey $upstreams $name) (and (not $upstreams) (eq $name "docker.io")) $values.existingConfigMap) -}}
{{- $messages = append $messages (printf "credentials.%s: config.upstreams has no %s. Add it with its url, or take its name as it stands there." $name $name) -}}
{{- end -}}
{{- if (get $upstreams $name | default dict).credentials -}}
{{- $messages = append $messages (printf "credentials.%s and config.upstreams.%s.credentials: only one can be the login. Remove the other." $name $name) -}}
{{- end -}}
{{- if and $login.usernameKey (ne ($login.kind | default "basic") "basic") -}}
{{- $messages = append $messages (printf "credentials.%s: %s has no username of its own. Remove usernameKey." $name $login.kind) -}}
{{- end -}}
{{- end -}}
{{- if and $lent (not (dig "access" "allow_anonymous" false $config)) (not $values.existingConfigMap) -}}
{{- $messages = append $messages (printf "The credentials for %s would be lent to everybody who reaches the proxy, because there is no access control. If that is what you want, say config.access.allow_anonymous: true, and let in only who may with networkPolicy.clients." ($lent | uniq | sortAlpha | join ", ")) -}}
{{- end -}}
{{- toYaml $messages -}}
{{- end -}}
